"""Own Debian's package programs: apt-get (update, install, remove, --simulate) and dpkg-query.

Three things of real hosts are here on purpose: without a subscription the enterprise
repository answers 401, an install may want to remove something, and at night the host's
own timers may be at it just then.
"""

from __future__ import annotations

import re
import time

from lib.lab.programs.arguments import BadOptionError, parse
from lib.lab.programs.host import Host, Output
from lib.lab.provenance import TOOL, belief

ENTERPRISE = "https://enterprise.proxmox.com/debian/pve"
ARCHIVES = "/var/cache/apt/archives"
CATALOGUE = {
    "libguestfs-tools": ("1:1.54.1-2", ("guestfs-tools", "supermin")),
    "guestfs-tools": ("1.54.0-1", ()),
    "supermin": ("5.2.2-6", ()),
    "dhcpcd-base": ("1:10.1.0-11", ()),
    "bind9-dnsutils": ("1:9.20.15-1~deb13u1", ()),
    "bind9-host": ("1:9.20.15-1~deb13u1", ()),
    "qemu-guest-agent": ("1:10.0.2+ds-2", ()),
    "jq": ("1.7.1-6", ()),
    "wget": ("1.25.0-2", ()),
    "curl": ("8.14.1-2", ()),
}
FLAGS = (
    "y yes q qq s simulate dry-run just-print no-install-recommends no-remove allow-change-held-packages "
    "assume-yes quiet fix-broken f"
)


def apt_get(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Update the index, install packages or remove them."""
    words = [word for word in argv if not (word.startswith(("-q=", "-o")) or "::" in word)]
    try:
        options, names = parse(words, FLAGS, "t")
    except BadOptionError as error:
        return Output(100, "", f"E: Command line option '{error}' is not understood\n")
    verb = names.pop(0) if names else ""
    busy = host.system().get("apt_busy_until", 0) > time.time()
    if verb == "update":
        lists = "/var/lib/apt/lists/"
        return _held(f"{lists}lock", f"Unable to lock directory {lists}") if busy else _update(host)
    simulate = bool({"s", "simulate", "dry-run", "just-print"} & set(options))
    if busy and not simulate and not any(word.startswith("DPkg::Lock::Timeout=") for word in argv):
        lock = "/var/lib/dpkg/lock-frontend"
        return _held(lock, f"Unable to acquire the dpkg frontend lock ({lock}), is another process using it?")
    if verb == "install":
        return _install(host, names, simulate, "no-remove" in options)
    if verb in ("remove", "purge"):
        return _remove(host, names, simulate)
    return Output(100, "", f"E: Invalid operation {verb}\n")


def _held(lock: str, so: str) -> Output:
    told = f"E: Could not get lock {lock}. It is held by process 4711 (unattended-upgr)\nE: {so}\n"
    return Output(100, "Reading package lists...\n", told, seconds=0.5)


def _enterprise(host: Host) -> bool:
    """Tell whether an enterprise repository is configured, in a file that somebody wrote."""
    folder = "/etc/apt/sources.list.d"
    for name in host.files.listdir(folder):
        text = host.files.read(f"{folder}/{name}").decode(errors="replace")
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        off = any(re.match(r"Enabled:\s*(no|false)", line) for line in lines)
        if not off and any("enterprise.proxmox.com" in line for line in lines):
            return True
    return False


def _suite(host: Host) -> str:
    return "bookworm" if host.world.lab.get("pve") == "8.4" else "trixie"


def _update(host: Host) -> Output:
    suite = _suite(host)
    hits = f"Hit:1 http://deb.debian.org/debian {suite} InRelease\n"
    hits += f"Hit:2 http://security.debian.org/debian-security {suite}-security InRelease\n"
    if not _enterprise(host):
        host.change(index_updated=True)
        more = f"Hit:3 http://download.proxmox.com/debian/pve {suite} InRelease\n"
        return Output(0, f"{hits}{more}Reading package lists...\n", seconds=4.0)
    where = "[IP: 51.91.38.34 443]"
    out = f"{hits}Err:3 {ENTERPRISE} {suite} InRelease\n  401  Unauthorized {where}\nReading package lists...\n"
    errors = (
        f"E: Failed to fetch {ENTERPRISE}/dists/{suite}/InRelease  401  Unauthorized {where}\n"
        f"E: The repository '{ENTERPRISE} {suite} InRelease' is not signed.\n"
    )
    return Output(100, out, errors, seconds=4.0)


def _remove(host: Host, names: list[str], simulate: bool) -> Output:
    have: dict[str, str] = host.system()["packages"]
    out = "Reading package lists...\nBuilding dependency tree...\nReading state information...\n"
    unknown = [name for name in names if name not in CATALOGUE and name not in have]
    if unknown:
        return Output(100, out, "".join(f"E: Unable to locate package {name}\n" for name in unknown), seconds=0.8)
    out += "".join(f"Package '{name}' is not installed, so not removed\n" for name in names if name not in have)
    gone = sorted({name for name in names if name in have})
    if gone:
        out += "The following packages will be REMOVED:\n  " + " ".join(gone) + "\n"
    out += f"0 upgraded, 0 newly installed, {len(gone)} to remove and 0 not upgraded.\n"
    word = "Remv {} [{}]\n" if simulate else "Removing {} ({}) ...\n"
    out += "".join(word.format(name, have[name]) for name in gone)
    if not simulate:
        host.change(packages={name: version for name, version in have.items() if name not in gone})
    return Output(0, out, seconds=5.0 if gone and not simulate else 0.8)


def _install(host: Host, names: list[str], simulate: bool, keep: bool) -> Output:
    head = "Reading package lists...\nBuilding dependency tree...\nReading state information...\n"
    system = host.system()
    have: dict[str, str] = system["packages"]
    known = set(CATALOGUE) if system.get("index_updated") else set()
    unknown = [name for name in names if name not in known and name not in have]
    if unknown:
        return Output(100, head, "".join(f"E: Unable to locate package {name}\n" for name in unknown), seconds=0.8)
    new = [name for name in names if name not in have]
    new += [extra for name in list(new) for extra in CATALOGUE[name][1] if extra not in have and extra not in new]
    new.sort()
    gone = [name for name in system.get("apt_removes", []) if name in have] if new else []
    if gone and keep:
        return Output(100, head, "E: Packages need to be removed but remove is disabled.\n", seconds=0.8)
    out = head
    for name in sorted(set(names) & set(have)):
        out += f"{name} is already the newest version ({have[name]}).\n"
    if gone:
        out += "The following packages will be REMOVED:\n  " + " ".join(gone) + "\n"
    if new:
        out += "The following NEW packages will be installed:\n  " + " ".join(new) + "\n"
    out += f"0 upgraded, {len(new)} newly installed, {len(gone)} to remove and 0 not upgraded.\n"
    if simulate:
        out += "".join(f"Remv {name} [{have[name]}]\n" for name in gone)
        for word in ("Inst", "Conf"):
            out += "".join(f"{word} {name} ({CATALOGUE[name][0]} Debian:{_suite(host)} [amd64])\n" for name in new)
        return Output(0, out, seconds=0.8)
    if new:
        try:
            host.files.need_space(ARCHIVES)
        except OSError:
            return Output(100, out, f"E: You don't have enough free space in {ARCHIVES}/.\n", seconds=0.8)
    kept = {name: version for name, version in have.items() if name not in gone}
    host.change(packages=kept | {name: CATALOGUE[name][0] for name in new})
    out += "".join(f"Removing {name} ({have[name]}) ...\n" for name in gone)
    out += "".join(f"Setting up {name} ({CATALOGUE[name][0]}) ...\n" for name in new)
    return Output(0, out, seconds=25.0 if new else 0.8)


def dpkg_query(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print fields of installed packages; exit 1 where one is not known."""
    options, names = parse(argv, "W show s status l list", "f showformat")
    have: dict[str, str] = host.system().get("packages", {})
    errors, missing = "", [name for name in names if name not in have]
    present = sorted(set(names) & set(have)) if names else sorted(have)
    if "s" in options or "status" in options:
        for name in missing:
            errors += f"dpkg-query: package '{name}' is not installed and no information is available\n"
        if missing:
            errors += "Use dpkg --info (= dpkg-deb --info) to examine archive files.\n"
        out = "\n".join(f"Package: {name}\nStatus: install ok installed\nVersion: {have[name]}\n" for name in present)
        return Output(1 if missing else 0, out, errors)
    errors = "".join(f"dpkg-query: no packages found matching {name}\n" for name in missing)
    form = options.get("f", options.get("showformat", "${binary:Package}\\t${Version}\\n"))
    form = form.replace("\\n", "\n").replace("\\t", "\t")
    out = "".join(_filled(form, name, have[name]) for name in present)
    return Output(1 if missing else 0, out, errors)


def _filled(form: str, name: str, version: str) -> str:
    fields = {
        "Package": name,
        "binary:Package": name,
        "Version": version,
        "Architecture": "amd64",
        "Status": "install ok installed",
        "db:Status-Status": "installed",
        "db:Status-Abbrev": "ii ",
    }
    return re.sub(r"\$\{([^};]+)(?:;-?\d+)?\}", lambda m: fields.get(m[1], ""), form)


PROGRAMS = {"apt-get": apt_get, "dpkg-query": dpkg_query}
SOURCES = {"apt-get": belief("what apt-get prints"), "dpkg-query": TOOL}
