"""Own the small programs that tell about the system: hostname, uname, date, id, sync, true, pveversion."""

from __future__ import annotations

import re
import time

from lib.lab.programs.arguments import parse
from lib.lab.programs.host import Host, Output
from lib.lab.provenance import RECORDED, TOOL, belief


def hostname(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print the name; -f with the domain, -I the addresses."""
    options, _ = parse(argv, "f s I i d fqdn short")
    domain = host.world.lab.get("domain", "")
    if "I" in options or "i" in options:
        return Output(0, f"{host.address} \n")
    if "d" in options:
        return Output(0, f"{domain}\n")
    full = ("f" in options or "fqdn" in options) and domain
    return Output(0, f"{host.node}.{domain}\n" if full else f"{host.node}\n")


def uname(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print the kernel."""
    options, _ = parse(argv, "a r s n m v o")
    kernel = str(host.world.lab.get("kernel"))
    parts = {
        "s": "Linux",
        "n": host.node,
        "r": kernel,
        "v": "#1 SMP PREEMPT_DYNAMIC PMX",
        "m": "x86_64",
        "o": "GNU/Linux",
    }
    asked = list(parts) if "a" in options else [key for key in parts if key in options] or ["s"]
    return Output(0, " ".join(parts[key] for key in asked) + "\n")


def date(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print the clock; the hosts' time zone is UTC. `-s @SECONDS` sets it first."""
    options, words = parse(argv, "u R", "d date s set")
    if given := options.get("s") or options.get("set"):
        if not re.fullmatch(r"@\d+(\.\d+)?", given):
            return Output(1, stderr=f"date: invalid date ‘{given}’\n")
        host.set_clock(float(given[1:]))
    form = words[0][1:] if words and words[0].startswith("+") else "%a %b %e %H:%M:%S UTC %Y"
    now = host.now()
    form = form.replace("%N", f"{int(now % 1 * 1e9):09d}").replace("%s", str(int(now)))
    return Output(0, time.strftime(form, time.gmtime(now)) + "\n")


def pveversion(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print the release as recorded; -v lists packages."""
    meta = host.world.lab
    line = f"pve-manager/{meta['version']}/{meta['repoid']} (running kernel: {meta['kernel']})\n"
    if not argv:
        return Output(0, line, seconds=0.7)
    rows = [f"{name}: {version}" for name, version in sorted(host.system().get("packages", {}).items())]
    return Output(
        0, "\n".join([f"proxmox-ve: {meta['release']}.0 (running kernel: {meta['kernel']})", *rows]) + "\n", seconds=0.7
    )


def identity(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print who runs this: root."""
    options, _ = parse(argv, "u g n")
    if "u" in options or "g" in options:
        return Output(0, "root\n" if "n" in options else "0\n")
    return Output(0, "uid=0(root) gid=0(root) groups=0(root)\n")


def nproc(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print the processors."""
    return Output(0, f"{host.machine.get('cpus', 1)}\n")


def uptime(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print since when the host is up (-s), else for how long."""
    booted = float(host.machine.get("boot_time", 0))
    if argv == ["-s"]:
        return Output(0, time.strftime("%Y-%m-%d %H:%M:%S\n", time.gmtime(booted)))
    return Output(0, f" up {int((time.time() - booted) // 86400)} days\n")


def sleep(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Take time: as many seconds as it says, however fast the lab is."""
    try:
        seconds = float(argv[0].removesuffix("s"))
    except (IndexError, ValueError):
        told = f"sleep: invalid time interval '{argv[0]}'" if argv else "sleep: missing operand"
        return Output(1, "", f"{told}\nTry 'sleep --help' for more information.\n")
    return Output(pause=seconds)


def which(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print where a program is."""
    from lib.lab.programs.table import find

    found = [f"/usr/bin/{name}\n" for name in argv if find(host, name) is not None]
    return Output(0 if len(found) == len(argv) else 1, "".join(found))


def echo(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print the words."""
    return Output(0, " ".join(argv) + "\n")


PROGRAMS = {
    "hostname": hostname,
    "uname": uname,
    "date": date,
    "pveversion": pveversion,
    "id": identity,
    "nproc": nproc,
    "uptime": uptime,
    "which": which,
    "echo": echo,
    "sleep": sleep,
    "whoami": lambda host, argv, stdin: Output(0, "root\n"),
    "true": lambda host, argv, stdin: Output(),
    "false": lambda host, argv, stdin: Output(1),
    "sync": lambda host, argv, stdin: Output(),
}
SOURCES = (
    dict.fromkeys(PROGRAMS, TOOL)
    | dict.fromkeys(("hostname", "pveversion"), RECORDED)
    | dict.fromkeys(("nproc", "uptime"), belief("what nproc and uptime print"))
)
