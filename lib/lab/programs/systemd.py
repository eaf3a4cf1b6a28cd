"""Own systemctl, systemd-run, systemd-escape: the host's units, .service and .mount files in /etc/systemd/system.

A service's ExecStart is run as a simulated program, a mount unit mounts What at Where;
what they want or require is started before. Output was compared with systemd 252.
"""

from __future__ import annotations

import itertools
import posixpath
import re
import shlex

from msgspec.structs import replace

from lib.lab.dns import service
from lib.lab.programs import blocks
from lib.lab.programs.arguments import parse
from lib.lab.programs.host import Host, Output
from lib.lab.provenance import TOOL, belief
from lib.lab.world import Document

FOLDER = "/etc/systemd/system"
FLAGS = "now q quiet no-block full no-pager all a value no-legend no-reload f force system"


def systemctl(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Run one verb over the units named."""
    options, words = parse(argv, FLAGS, "p property t type n lines o output state")
    verb, names = (words[0], [_full(name) for name in words[1:]]) if words else ("list-units", [])
    if verb == "daemon-reload":
        host.change(loaded={name: host.files.read(f"{FOLDER}/{name}").decode() for name in _written(host)})
        return Output(seconds=0.2)
    if verb == "reload":
        return _reload(host, names)
    if verb == "show":
        return _show(host, names, options)
    action = VERBS.get(verb)
    if action is None:
        return Output(1, "", f"Unknown command verb '{verb}'.\n")
    quiet = "q" in options or "quiet" in options
    worst, out, errors = 0, "", ""
    for name in names:
        done = action(host, name)
        if "now" in options and verb in AT_ONCE and not done.exit:
            also = AT_ONCE[verb](host, name)
            done = Output(also.exit, "", done.stderr + also.stderr)
        worst = max(worst, done.exit) if verb != "is-active" else done.exit
        out += "" if quiet else str(done.stdout)
        errors += done.stderr
    return Output(worst, out, errors, seconds=0.1)


def _full(name: str) -> str:
    if name.startswith("/"):
        return f"{escape_path(name)}.mount"
    return name if re.search(r"\.(service|mount|timer|target|socket|path)$", name) else f"{name}.service"


def _written(host: Host) -> list[str]:
    return [name for name in host.files.listdir(FOLDER) if host.files.stat(f"{FOLDER}/{name}")["type"] == "file"]


def _reload(host: Host, names: list[str]) -> Output:
    """Let services read again; only a name service can."""
    for name in names:
        if not _known(host, name):
            return Output(5, "", f"Failed to reload {name}: Unit {name} not found.\n")
        if name != service.unit_of(host):
            told = f"Failed to reload {name}: Job type reload is not applicable for unit {name}.\n"
            return Output(1, "", told)
        if not active(host, name):
            return Output(1, "", f"{name} is not active, cannot reload.\n")
        if service.reload(host):
            return Output(1, "", f"Job for {name} failed.\n")
    return Output(seconds=0.1)


def _units(host: Host) -> dict[str, Document]:
    return dict(host.system().get("units", {}))


def _text(host: Host, name: str) -> str | None:
    """Return a unit's text: as loaded, or from its file if it was never loaded."""
    loaded = host.system().get("loaded", {})
    if name in loaded:
        return str(loaded[name])
    path = f"{FOLDER}/{name}"
    return host.files.read(path).decode() if host.files.exists(path) else None


def _known(host: Host, name: str) -> bool:
    return name in _units(host) or _text(host, name) is not None


def _values(text: str, key: str) -> list[str]:
    return [m[1].strip() for m in re.finditer(rf"^{key}\s*=\s*(.*)$", text, re.MULTILINE)]


def _words(text: str, key: str) -> list[str]:
    return [word for value in _values(text, key) for word in value.split()]


def _value(text: str, key: str) -> str:
    return next(iter(_values(text, key)), "")


def _set(host: Host, name: str, **fields: object) -> None:
    units = _units(host)
    units[name] = {"enabled": False, "active": False} | units.get(name, {}) | fields
    host.change(units=units)


def active(host: Host, name: str) -> bool:
    """Tell whether a unit is active; a mount unit is what is mounted."""
    if name.endswith(".mount"):
        return unescape_path(name.removesuffix(".mount")) in host.files.mounts()
    if name == service.unit_of(host):
        return service.is_running(host.world, host.node)
    return bool(_units(host).get(name, {}).get("active"))


def start(host: Host, name: str) -> Output:
    """Start a unit and what it requires."""
    if not _known(host, name):
        return Output(5, "", f"Failed to start {name}: Unit {name} not found.\n")
    if active(host, name):
        return Output()
    text = _text(host, name) or ""
    absent = _value(text, "ConditionPathExists")
    if absent.startswith("!") and host.files.exists(absent[1:]):
        return Output()  # skipped: neither active nor failed, and no hindrance to who requires it (systemd.unit)
    needed = _words(text, "Requires") + _words(text, "BindsTo")
    for other in needed + _words(text, "Wants"):
        if _text(host, other) is None:
            continue
        done = start(host, other)
        if done.exit and other in needed:
            told = f"A dependency job for {name} failed. See 'journalctl -xe' for details.\n"
            return Output(1, "", told)
    if name == service.unit_of(host):
        problem = service.start(host)
    else:
        problem = _mount(host, name, text) if name.endswith(".mount") else _execute(host, text, "ExecStart")
    if problem:
        _set(host, name, active=False, failed=problem)
        kind = "the control process exited with error code"
        if name.endswith(".mount"):
            kind = "mount process exited, code=exited, status=32/n/a"
        see = f'See "systemctl status {shlex.quote(name)}" and "journalctl -xeu {shlex.quote(name)}" for details.\n'
        return Output(1, "", f"Job for {name} failed because {kind}.\n{see}")
    _set(host, name, active=True, failed="")
    return Output()


def _mount(host: Host, name: str, text: str) -> str:
    """Mount What at Where; systemd makes the directory."""
    source, target, kind, options = (_value(text, key) for key in ("What", "Where", "Type", "Options"))
    if f"{escape_path(target)}.mount" != name:
        return f"{name}: Where= setting doesn't match unit name. Refusing."
    host.files.mkdir(target, parents=True)
    return blocks.attach(host, source, target, kind, options)


def _execute(host: Host, text: str, key: str) -> str:
    """Run a unit's commands as simulated programs; return the first complaint."""
    from lib.lab.programs.table import run

    for line in _values(text, key):
        argv = shlex.split(line.lstrip("@:+!"))
        forgiven = bool(argv) and argv[0].startswith("-")
        if forgiven:
            argv[0] = argv[0][1:]
        done = run(host, argv, b"")
        if done.exit and not forgiven:
            return done.stderr or f"exit {done.exit}"
    return ""


def stop(host: Host, name: str) -> Output:
    """Stop a unit, and first what requires it."""
    if not _known(host, name):
        return Output(5, "", f"Failed to stop {name}: Unit {name} not loaded.\n")
    for other in _written(host):
        if name in _words(_text(host, other) or "", "Requires") and active(host, other):
            stop(host, other)
    if not active(host, name):
        return Output()
    if name.endswith(".mount"):
        done = blocks.umount(host, [unescape_path(name.removesuffix(".mount"))], b"")
        if done.exit:
            return Output(1, "", f"Job for {name} failed.\n")
    elif name == service.unit_of(host):
        service.stop(host)
    else:
        _execute(host, _text(host, name) or "", "ExecStop")
    _set(host, name, active=False)
    return Output()


def restart(host: Host, name: str) -> Output:
    """Stop and start."""
    if not _known(host, name):
        return Output(5, "", f"Failed to restart {name}: Unit {name} not found.\n")
    stop(host, name)
    return start(host, name)


def _links(host: Host, name: str) -> list[str]:
    return [f"{FOLDER}/{target}.wants/{name}" for target in _words(_text(host, name) or "", "WantedBy")]


def enable(host: Host, name: str) -> Output:
    """Start it at every boot: links in the .wants folders that its [Install] section names."""
    if not _known(host, name):
        return Output(1, "", f"Failed to enable unit: Unit file {name} does not exist.\n")
    told = ""
    if _text(host, name) is not None:
        links = _links(host, name)
        if not links:
            told = "The unit files have no installation config (WantedBy=, RequiredBy=, Also=, Alias= settings).\n"
        for link in links:
            host.files.mkdir(posixpath.dirname(link), parents=True)
            if not host.files.exists(link):
                host.files.symlink(f"{FOLDER}/{name}", link)
                told += f"Created symlink {link} -> {FOLDER}/{name}.\n"
    _set(host, name, enabled=True)
    return Output(stderr=told)


def disable(host: Host, name: str) -> Output:
    """Do not start it at boot."""
    if not _known(host, name):
        return Output(1, "", f"Failed to disable unit: Unit file {name} does not exist.\n")
    told = ""
    for link in _links(host, name):
        if host.files.exists(link):
            host.files.remove(link)
            told += f"Removed {link}.\n"
    _set(host, name, enabled=False)
    return Output(stderr=told)


def is_active(host: Host, name: str) -> Output:
    """Print active, inactive or failed."""
    if active(host, name):
        return Output(0, "active\n")
    failed = _units(host).get(name, {}).get("failed")
    return Output(3 if _known(host, name) else 4, "failed\n" if failed else "inactive\n")


def enabled(host: Host, name: str) -> bool:
    """Tell whether it starts at boot: by its links, or as the system came."""
    if _text(host, name) is not None:
        return any(host.files.exists(link) for link in _links(host, name))
    return bool(_units(host).get(name, {}).get("enabled"))


def is_enabled(host: Host, name: str) -> Output:
    """Print enabled or disabled."""
    if not _known(host, name):
        return Output(4, "not-found\n")
    return Output(0, "enabled\n") if enabled(host, name) else Output(1, "disabled\n")


def status(host: Host, name: str) -> Output:
    """Print a short status."""
    if not _known(host, name):
        return Output(4, "", f"Unit {name} could not be found.\n")
    word = "active (running)" if active(host, name) else "inactive (dead)"
    at_boot = "enabled" if enabled(host, name) else "disabled"
    told = f"* {name}\n     Loaded: loaded ({FOLDER}/{name}; {at_boot})\n     Active: {word}\n"
    return Output(0 if active(host, name) else 3, told)


def cat(host: Host, name: str) -> Output:
    """Print the unit's file."""
    text = _text(host, name)
    return Output(1, "", f"No files found for {name}.\n") if text is None else Output(0, f"# {FOLDER}/{name}\n{text}")


def _show(host: Host, names: list[str], options: dict[str, str]) -> Output:
    asked = options.get("p", options.get("property", "")).split(",") if {"p", "property"} & set(options) else []
    out = []
    for name in names:
        known, runs = _known(host, name), active(host, name)
        state = _units(host).get(name, {})
        path = f"{FOLDER}/{name}"
        stale = name in host.system().get("loaded", {}) and host.files.exists(path)
        stale = stale and host.files.read(path).decode() != host.system()["loaded"][name]
        fields = {
            "Id": name,
            "LoadState": "loaded" if known else "not-found",
            "ActiveState": "active" if runs else "failed" if state.get("failed") else "inactive",
            "SubState": ("mounted" if name.endswith(".mount") else "running") if runs else "dead",
            "UnitFileState": ("enabled" if enabled(host, name) else "disabled") if known else "",
            "FragmentPath": path if _text(host, name) is not None else "",
            "NeedDaemonReload": "yes" if stale else "no",
            "Result": "exit-code" if state.get("failed") else "success",
        }
        picked = {key: value for key, value in fields.items() if not asked or key in asked}
        out.append("".join(f"{value}\n" if "value" in options else f"{key}={value}\n" for key, value in picked.items()))
    return Output(0, "\n".join(out))


def escape_path(path: str) -> str:
    """Return a path as systemd writes it in a unit's name."""
    inner = posixpath.normpath(path).strip("/")
    if not inner:
        return "-"
    text = "".join(
        "-" if c == "/" else c if re.match(r"[A-Za-z0-9:_.]", c) else "".join(f"\\x{b:02x}" for b in c.encode())
        for c in inner
    )
    return "\\x2e" + text[1:] if text.startswith(".") else text


def unescape_path(name: str) -> str:
    """Return the path of a unit's name."""
    raw = name.replace("-", "/").encode()
    plain = re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), raw)
    return "/" + plain.decode(errors="replace").strip("/")


def systemd_escape(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Escape strings for unit names."""
    options, words = parse(argv, "p path u unescape", "suffix template")
    end = f".{options['suffix']}" if "suffix" in options else ""
    if "u" in options or "unescape" in options:
        return Output(0, " ".join(unescape_path(word) for word in words) + "\n")
    as_path = "p" in options or "path" in options
    names = [escape_path(w) if as_path else escape_path(w.replace("/", "\0")).replace("\\x00", "-") for w in words]
    return Output(0, " ".join(name + end for name in names) + "\n")


def systemd_run(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Run a command as a service of its own, which no session ends; `--wait` waits until it has ended."""
    from lib.lab.programs.table import run

    flags = list(itertools.takewhile(lambda word: word.startswith("--"), argv))
    if unknown := set(flags) - {"--quiet", "--collect", "--wait"}:
        return Output(1, "", f"systemd-run: unrecognized option '{min(unknown)}'\n")
    done = run(host, argv[len(flags) :], b"")
    return replace(done, stdout="", stderr="") if "--wait" in flags else Output()


def journalctl(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print why units failed."""
    units = _units(host)
    return Output(0, "".join(f"{name}: {unit['failed']}\n" for name, unit in units.items() if unit.get("failed")))


VERBS = {
    "start": start, "stop": stop, "restart": restart, "reload-or-restart": restart, "enable": enable,
    "disable": disable, "is-active": is_active, "is-enabled": is_enabled, "status": status, "cat": cat,
}  # fmt: skip
AT_ONCE = {"enable": start, "disable": stop}  # with --now
PROGRAMS = {
    "systemctl": systemctl,
    "systemd-run": systemd_run,
    "systemd-escape": systemd_escape,
    "journalctl": journalctl,
}
SOURCES = dict.fromkeys(PROGRAMS, belief("what systemctl, systemd-run and journalctl print, and how they end"))
SOURCES["systemd-escape"] = TOOL
