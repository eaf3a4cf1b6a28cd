"""Own the table of simulated programs, and how a command line is run: wrappers, unknown programs, wrong options."""

from __future__ import annotations

import contextlib
import errno
import shlex

from lib.lab.programs import (
    blocks,
    coreutils,
    folders,
    images,
    name_server,
    network,
    packages,
    proxmox,
    rbd,
    scripts,
    system,
    systemd,
    web,
)  # fmt: skip
from lib.lab.programs.arguments import BadOptionError
from lib.lab.programs.host import Host, Output, Program
from lib.lab.provenance import RECORDED, TOOL, Provenance, belief, undeclared

_MODULES = (
    *(coreutils, folders, system, blocks, rbd, systemd),
    *(packages, images, network, web, name_server, proxmox),
)
PROGRAMS: dict[str, Program] = {name: each for module in _MODULES for name, each in module.PROGRAMS.items()}
SOURCES: dict[str, Provenance] = {name: each for module in _MODULES for name, each in module.SOURCES.items()}
_NO_PROGRAM = belief("what bash, env and timeout say of a line without a program")
_SCRIPT = belief("how sh ends a script that is one simple command a line")
WRAPPERS = ("env", "nohup", "sudo", "timeout")
NEED_CEPH = frozenset({"rbd", "ceph"})
FROM_PACKAGE = {
    "virt-customize": "libguestfs-tools",
    "dig": "bind9-dnsutils",
    "host": "bind9-host",
    "curl": "curl",
    "dnsmasq": "dnsmasq-base",
    "named-checkconf": "bind9-utils",
    "named-checkzone": "bind9-utils",
    "rndc": "bind9-utils",
}
PREINSTALLED = frozenset({"curl"})


def run(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Run one command line."""
    if not argv:
        return Output()
    name, rest = argv[0], argv[1:]
    short = name.rpartition("/")[2]
    if short == "timeout":
        return _timeout(host, rest, stdin)
    if short == "env":
        return _env(host, rest, stdin)
    if short in ("nohup", "sudo"):
        return _plainly(host, argv, stdin)
    if is_shell(argv):
        return _shell(host, rest[1], stdin)
    if is_script(argv):
        return scripts.start(host, argv[1])
    if done := name_server.init_script(host, name, rest):
        return done
    program = find(host, name)
    if program is None:
        what = "No such file or directory" if "/" in name else "command not found"
        return Output(127, "", f"bash: line 1: {name}: {what}\n")
    # What the API does is in transactions of its own, and a refused request takes its changes back there.
    own = short in proxmox.PROGRAMS
    try:
        with contextlib.nullcontext() if own else host.world.transaction():
            return program(host, rest, stdin)
    except BadOptionError as error:
        bad = str(error)
        told = f"unrecognized option '{bad}'" if bad.startswith("--") else f"invalid option -- '{bad[1:2]}'"
        return Output(1, "", f"{short}: {told}\nTry '{short} --help' for more information.\n")
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return Output(1, "", f"{short}: error writing '{error.filename}': No space left on device\n")


def find(host: Host, name: str) -> Program | None:
    """Return the program of that name or path, where this host has it."""
    folder, _, short = name.rpartition("/")
    if folder and folder not in ("/bin", "/usr/bin", "/sbin", "/usr/sbin"):
        return None
    system_of_host = host.system()
    if short in proxmox.PROGRAMS and "pve-manager" not in system_of_host.get("packages", {}):
        return None
    if short in NEED_CEPH and not system_of_host.get("ceph"):
        return None
    package = FROM_PACKAGE.get(short)
    if package and short not in PREINSTALLED and package not in system_of_host.get("packages", {}):
        return None
    return PROGRAMS.get(short)


def source(argv: list[str], exit: int) -> Provenance:
    """Return what the answer to a command line rests on."""
    argv = argv[1:] if argv[:1] == ["nohup"] else argv
    if is_script(argv):
        return _SCRIPT
    if is_shell(argv) and exit != 2:
        return source(shlex.split(argv[2]), exit)
    words = [word.rpartition("/")[2] for word in argv]
    if exit == 127:
        return TOOL if words[0] in ("env", "timeout") else RECORDED
    first = next((index for index, word in enumerate(words) if word in PROGRAMS), None)
    if first is None:
        return _NO_PROGRAM
    names = (" ".join(words[first : first + count]) for count in (4, 3, 2, 1))
    return next((SOURCES[name] for name in names if name in SOURCES), undeclared(words[first]))


def is_shell(argv: list[str]) -> bool:
    """Tell whether a command line is `sh -c LINE`, as other tools wrap what they run."""
    return len(argv) == 3 and argv[0] in ("sh", "/bin/sh") and argv[1] == "-c"


def is_script(argv: list[str]) -> bool:
    """Tell whether a command line is `sh FILE`."""
    return len(argv) == 2 and argv[0] in ("sh", "/bin/sh") and not argv[1].startswith("-")


def _plainly(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Run what follows `nohup` or `sudo -n`: nobody hangs up on a command here, and everybody is root."""
    words = argv[1:]
    while words and words[0] == "-n":
        words = words[1:]
    return run(host, words, stdin)


def _shell(host: Host, line: str, stdin: bytes) -> Output:
    """Run the words of a line as one command, as the line of a session is run: nothing is expanded or joined."""
    try:
        return run(host, shlex.split(line), stdin)
    except ValueError as error:
        return Output(2, "", f"sh: 1: Syntax error: {error}\n")


def _timeout(host: Host, words: list[str], stdin: bytes) -> Output:
    """Run what follows `timeout [-k N] [-s SIG] SECONDS`; the limit itself is kept where the session waits."""
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in ("-k", "-s", "--kill-after", "--signal") else words[1:]
    if len(words) < 2:
        return Output(125, "", "timeout: missing operand\nTry 'timeout --help' for more information.\n")
    if not words[0].rstrip("smhd").replace(".", "", 1).isdigit():
        told = f"timeout: invalid time interval '{words[0]}'\nTry 'timeout --help' for more information.\n"
        return Output(125, "", told)
    return _wrapped(host, "timeout: failed to run command '{}': No such file or directory\n", words[1:], stdin)


def _env(host: Host, words: list[str], stdin: bytes) -> Output:
    """Run what follows `env NAME=VALUE …`."""
    while words and "=" in words[0]:
        words = words[1:]
    return _wrapped(host, "env: '{}': No such file or directory\n", words, stdin) if words else Output()


def _wrapped(host: Host, absent: str, words: list[str], stdin: bytes) -> Output:
    known = words[0].rpartition("/")[2] in WRAPPERS or is_shell(words) or is_script(words)
    if not known and find(host, words[0]) is None and not name_server.has_init_script(host, words[0]):
        return Output(127, "", absent.format(words[0]))
    return run(host, words, stdin)
