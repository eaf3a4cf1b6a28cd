"""Own qm, pveum, pvesm and pvesh: a table over the REST API, asked as root@pam, as on a real host.

Exit codes, messages and the tables printed follow recordings of a real host. Where no
recording tells how text looks, JSON is printed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lib.lab.programs.host import Host, Output
from lib.lab.provenance import RECORDED, belief
from lib.lab.pve import api
from lib.lab.pve.answers import Answer
from lib.lab.pve.params import spell
from lib.lab.pve.rights import major

ROOT = "root@pam"
SECONDS = {"qm": 0.6, "pveum": 0.38, "pvesm": 0.38, "pvesh": 0.68}
FORMAT_OPTIONS = ("output-format", "human-readable", "noborder", "noheader", "quiet")
UNKNOWN = "property is not defined in schema"


@dataclass(frozen=True)
class Entry:
    """One subcommand: the request it makes, the operands it takes, and how the answer is shown."""

    method: str
    path: str
    operands: tuple[str, ...] = ()
    show: Callable[[Any], str] | None = None
    formats: bool = False


# ------------------------------------------------------------------ showing


def _json(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def _config(data: dict[str, Any]) -> str:
    return "".join(f"{key}: {_encoded(value)}\n" for key, value in sorted(data.items()) if key != "digest")


def _encoded(value: Any) -> str:
    """Return a configuration value on one line; a description's newlines are percent-encoded."""
    return str(value).replace("%", "%25").replace("\n", "%0A") if "\n" in str(value) else str(value)


def _status(data: dict[str, Any]) -> str:
    return f"status: {data['status']}\n"


def _guests(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    out = f"{'VMID':>10} {'NAME':<20} {'STATUS':<10} {'MEM(MB)':<10} {'BOOTDISK(GB)':>12} {'PID':<10}\n"
    for row in sorted(rows, key=lambda row: int(row["vmid"])):
        memory, disk = int(row.get("maxmem", 0)) >> 20, int(row.get("maxdisk", 0)) / (1 << 30)
        head = f"{row['vmid']:>10} {row.get('name', ''):<20} {row['status']:<10} {memory:<10}"
        out += f"{head} {disk:>12.2f} {row.get('pid', 0):<10}\n"
    return out


def _storages(rows: list[dict[str, Any]]) -> str:
    width = max((len(row["storage"]) + 1 for row in rows), default=0)
    form = f"%-{width}s %10s %10s %15s %15s %15s %8s\n"
    out = form % ("Name", "Type", "Status", "Total (KiB)", "Used (KiB)", "Available (KiB)", "%")
    for row in sorted(rows, key=lambda row: str(row["storage"])):
        state = "active" if row.get("active") else "inactive" if row.get("enabled", 1) else "disabled"
        total, used, free = (int(row.get(key, 0)) // 1024 for key in ("total", "used", "avail"))
        percent = f"{used * 100 / total:.2f}%" if total else "N/A"
        out += form % (row["storage"], row["type"], state, total, used, free, percent)
    return out


def _volumes(rows: list[dict[str, Any]]) -> str:
    width = max((len(row["volid"]) for row in rows), default=0)
    out = f"{'Volid':<{width}} {'Format':<7} {'Type':<9} {'Size':>14} VMID\n"
    for row in rows:
        line = f"{row['volid']:<{width}} {row['format']:<7} {row['content']:<9} {row['size']:>14} {row.get('vmid', '')}"
        out += f"{line.rstrip()}\n"
    return out


# -------------------------------------------------------------------- table

VM = "/nodes/{node}/qemu/{vmid}"
USER, TOKEN = "/access/users/{userid}", "/access/users/{userid}/token/{tokenid}"
QM = {
    "list": Entry("GET", "/nodes/{node}/qemu", (), _guests),
    "create": Entry("POST", "/nodes/{node}/qemu", ("vmid",)),
    "config": Entry("GET", f"{VM}/config", ("vmid",), _config),
    "pending": Entry("GET", f"{VM}/pending", ("vmid",), _json),
    "status": Entry("GET", f"{VM}/status/current", ("vmid",), _status),
    "set": Entry("PUT", f"{VM}/config", ("vmid",)),
    "clone": Entry("POST", f"{VM}/clone", ("vmid", "newid")),
    "destroy": Entry("DELETE", VM, ("vmid",)),
    "template": Entry("POST", f"{VM}/template", ("vmid",)),
    "start": Entry("POST", f"{VM}/status/start", ("vmid",)),
    "stop": Entry("POST", f"{VM}/status/stop", ("vmid",)),
    "shutdown": Entry("POST", f"{VM}/status/shutdown", ("vmid",)),
    "reboot": Entry("POST", f"{VM}/status/reboot", ("vmid",)),
    "reset": Entry("POST", f"{VM}/status/reset", ("vmid",)),
    "migrate": Entry("POST", f"{VM}/migrate", ("vmid", "target")),
    "disk resize": Entry("PUT", f"{VM}/resize", ("vmid", "disk", "size")),
    "resize": Entry("PUT", f"{VM}/resize", ("vmid", "disk", "size")),
    "snapshot": Entry("POST", f"{VM}/snapshot", ("vmid", "snapname")),
    "listsnapshot": Entry("GET", f"{VM}/snapshot", ("vmid",), _json),
    "delsnapshot": Entry("DELETE", f"{VM}/snapshot/{{snapname}}", ("vmid", "snapname")),
}
PVEUM = {
    "user list": Entry("GET", "/access/users", (), _json, formats=True),
    "user add": Entry("POST", "/access/users", ("userid",)),
    "user modify": Entry("PUT", USER, ("userid",)),
    "user delete": Entry("DELETE", USER, ("userid",)),
    "user permissions": Entry("GET", "/access/permissions", ("userid",), _json, formats=True),
    "user token add": Entry("POST", TOKEN, ("userid", "tokenid"), _json, formats=True),
    "user token modify": Entry("PUT", TOKEN, ("userid", "tokenid"), _json, formats=True),
    "user token remove": Entry("DELETE", TOKEN, ("userid", "tokenid")),
    "user token delete": Entry("DELETE", TOKEN, ("userid", "tokenid")),
    "user token list": Entry("GET", "/access/users/{userid}/token", ("userid",), _json, formats=True),
    "group list": Entry("GET", "/access/groups", (), _json, formats=True),
    "group add": Entry("POST", "/access/groups", ("groupid",)),
    "group delete": Entry("DELETE", "/access/groups/{groupid}", ("groupid",)),
    "role list": Entry("GET", "/access/roles", (), _json, formats=True),
    "role add": Entry("POST", "/access/roles", ("roleid",)),
    "role modify": Entry("PUT", "/access/roles/{roleid}", ("roleid",)),
    "role delete": Entry("DELETE", "/access/roles/{roleid}", ("roleid",)),
    "acl list": Entry("GET", "/access/acl", (), _json, formats=True),
    "acl modify": Entry("PUT", "/access/acl", ("path",)),
    "acl delete": Entry("PUT", "/access/acl", ("path",)),
    "realm list": Entry("GET", "/access/domains", (), _json, formats=True),
    "pool list": Entry("GET", "/pools", (), _json, formats=True),
    "pool add": Entry("POST", "/pools", ("poolid",)),
    "pool delete": Entry("DELETE", "/pools/{poolid}", ("poolid",)),
    "passwd": Entry("PUT", "/access/password", ("userid",)),
}
PVESM = {
    "status": Entry("GET", "/nodes/{node}/storage", (), _storages),
    "list": Entry("GET", "/nodes/{node}/storage/{storage}/content", ("storage",), _volumes),
    "add": Entry("POST", "/storage", ("type", "storage")),
    "set": Entry("PUT", "/storage/{storage}", ("storage",)),
    "remove": Entry("DELETE", "/storage/{storage}", ("storage",)),
    "free": Entry("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}", ("volume",)),
}
TABLES = {"qm": QM, "pveum": PVEUM, "pvesm": PVESM}


def _usage(program: str, name: str, entry: Entry) -> str:
    operands = " ".join(f"<{operand}>" for operand in entry.operands)
    return f"{program} {name} {operands} [OPTIONS]{' [FORMAT_OPTIONS]' if entry.formats else ''}\n"


def _options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split `--name value`, `--name=value`, `-name value`; a name without value is true."""
    found: dict[str, str] = {}
    rest: list[str] = []
    words = list(words)
    while words:
        word = words.pop(0)
        if not re.match(r"--?[a-zA-Z]", word):
            rest.append(word)
            continue
        name, given, value = word.lstrip("-").partition("=")
        if not given:
            value = words.pop(0) if words and not re.match(r"--?[a-zA-Z]", words[0]) else "1"
        found[name] = f"{found[name]},{value}" if name in found else value
    return found, rest


def _table_program(program: str) -> Callable[[Host, list[str], bytes], Output]:
    table = TABLES[program]

    def run(host: Host, argv: list[str], stdin: bytes) -> Output:
        if not argv:
            rows = "".join(f"       {_usage(program, name, entry)}" for name, entry in sorted(table.items()))
            told = f"ERROR: no command specified\nUSAGE: {program} <COMMAND> [ARGS] [OPTIONS]\n\n{rows}"
            return Output(255, "", told, seconds=SECONDS[program])
        name = next((" ".join(argv[:n]) for n in (3, 2, 1) if " ".join(argv[:n]) in table), None)
        if name is None:
            extra = _extra(program, host, argv)
            return extra or Output(255, "", f"ERROR: unknown command '{program} {argv[0]}'\n", seconds=SECONDS[program])
        return _run(program, host, name, table[name], argv[len(name.split()) :])

    return run


def _extra(program: str, host: Host, argv: list[str]) -> Output | None:
    """Run what is no request: `pvesm path VOLUME`."""
    if program != "pvesm" or len(argv) != 2 or argv[0] != "path":
        return None
    storage, _, volume = argv[1].partition(":")
    found = host.world.get("storage", storage)
    if found is None:
        return Output(255, "", f"storage '{storage}' does not exist\n", seconds=SECONDS[program])
    kind, _, name = volume.partition("/")
    folders = {
        "iso": "template/iso",
        "vztmpl": "template/cache",
        "import": "import",
        "snippets": "snippets",
        "backup": "dump",
    }
    if found["type"] == "rbd":
        return Output(0, f"rbd:{found['pool']}/{volume}:conf=/etc/pve/ceph.conf\n", seconds=SECONDS[program])
    inner = f"{folders[kind]}/{name}" if kind in folders else f"images/{volume}"
    return Output(0, f"{found['path']}/{inner}\n", seconds=SECONDS[program])


def _run(program: str, host: Host, name: str, entry: Entry, words: list[str]) -> Output:
    params, rest = _options(words)
    shown = {key: params.pop(key) for key in FORMAT_OPTIONS if key in params}
    usage = _usage(program, name, entry)
    if len(rest) != len(entry.operands):
        problem = "not enough arguments" if len(rest) < len(entry.operands) else "too many arguments"
        return Output(255, "", f"400 {problem}\n{usage}", seconds=SECONDS[program])
    path, params = _request(name, entry, params, rest, host.node)
    answer = _call(host, entry.method, path, params)
    if answer.status != 200:
        return _refused(program, answer, usage)
    return _finished(program, host, answer, entry.show, shown)


def _request(name: str, entry: Entry, params: dict[str, str], rest: list[str], node: str) -> tuple[str, dict[str, str]]:
    """Return path and parameters of the request that a subcommand makes."""
    params = params | dict(zip(entry.operands, rest, strict=True))
    if name == "acl delete":
        params["delete"] = "1"
    if "volume" in entry.operands:
        params["storage"] = params["volume"].partition(":")[0]
    path = entry.path.replace("{node}", node)
    for key in re.findall(r"\{(\w+)\}", path):
        path = path.replace("{" + key + "}", params.pop(key))
    return path, params


def request_of(argv: list[str], node: str) -> tuple[str, str, dict[str, str]] | None:
    """Return method, path and parameters of the request that a command line makes; None where it makes none."""
    params, rest = _options(argv[1:])
    params = {key: value for key, value in params.items() if key not in FORMAT_OPTIONS}
    if argv[0] == "pvesh":
        whole = len(rest) == 2 and rest[0] in METHODS
        return (METHODS[rest[0]], "/" + rest[1].strip("/"), params) if whole else None
    table = TABLES.get(argv[0], {})
    name = next((" ".join(rest[:n]) for n in (3, 2, 1) if " ".join(rest[:n]) in table), "")
    operands = rest[len(name.split()) :]
    if not name or len(operands) != len(table[name].operands):
        return None
    return table[name].method, *_request(name, table[name], params, operands, node)


def _call(host: Host, method: str, path: str, params: dict[str, str]) -> Answer:
    assert host.api is not None
    found = api.find(method, path)
    spelled = params if found is None else spell(found[0].declaration, params, major(host.world))
    return host.api.call(ROOT, method, path, spelled, host.node)


def _refused(program: str, answer: Answer, usage: str) -> Output:
    """Say why, with the exit code of the real program: Perl's errno, where `die` found one set."""
    body = answer.body or {}
    message = str(body.get("message") or answer.reason).rstrip("\n")
    errors: dict[str, str] = body.get("errors") or {}
    seconds = SECONDS[program]
    if answer.status == 400 and errors:
        unknown = [name for name, text in errors.items() if UNKNOWN in str(text)]
        if unknown:
            told = "".join(f"Unknown option: {name}\n" for name in unknown)
            return Output(255, "", f"{told}400 unable to parse option\n{usage}", seconds=seconds)
        told = "".join(f"{name}: {text}\n" for name, text in errors.items())
        return Output(255, "", f"400 {message}\n{told}{usage}", seconds=seconds)
    missing = program == "qm" and message.startswith("Configuration file ")
    errno_left = program == "pvesh" and answer.status == 500 and not message.startswith("hostname lookup")
    return Output(2 if missing or errno_left else 255, "", f"{message}\n", seconds=seconds)


def _finished(
    program: str, host: Host, answer: Answer, show: Callable[[Any], str] | None, shown: dict[str, str]
) -> Output:
    """Show the answer; where it began a task, go on until that has ended, as the real programs do."""
    seconds = SECONDS[program]
    data = (answer.body or {}).get("data")
    if answer.upid is None:
        if "output-format" in shown and show is not None:
            return Output(0, _json(data), seconds=seconds)
        return Output(0, show(data) if show is not None and data is not None else "", seconds=seconds)
    task = host.world.get("task", answer.upid) or {}
    scale = float(host.meta().get("task_scale") or 0)
    seconds += task.get("duration", 0) / scale if scale else 0
    if task.get("status") == "running":
        assert host.api is not None
        host.world.put("task", answer.upid, task | {"due": 0.0})
        host.api.settle()
        task = host.world.get("task", answer.upid) or {}
    lines = [line for line in task.get("log", []) if not line.startswith("TASK ")]
    out = "".join(f"{line}\n" for line in lines)
    if task.get("exitstatus") != "OK":
        return Output(255, out, f"{task.get('exitstatus')}\n", seconds=seconds)
    return Output(0, out + (f"{answer.upid}\n" if program == "pvesh" else ""), seconds=seconds)


METHODS = {"get": "GET", "ls": "GET", "create": "POST", "set": "PUT", "delete": "DELETE"}


def pvesh(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Make one request: `pvesh get|create|set|delete|ls PATH [--name value …]`."""
    seconds = SECONDS["pvesh"]
    if len(argv) < 2 or argv[0] not in METHODS:
        return Output(
            255, "", "ERROR: no command specified\nUSAGE: pvesh <COMMAND> [ARGS] [OPTIONS]\n", seconds=seconds
        )
    verb, path = argv[0], "/" + argv[1].strip("/")
    params, rest = _options(argv[2:])
    usage = f"pvesh {verb} <api_path> [OPTIONS] [FORMAT_OPTIONS]\n"
    if rest:
        return Output(255, "", f"400 too many arguments\n{usage}", seconds=seconds)
    shown = {key: params.pop(key) for key in FORMAT_OPTIONS if key in params}
    answer = _call(host, METHODS[verb], path, params)
    if answer.status == 501:
        return Output(1, "", f"No '{verb}' handler defined for '{path}'\n", seconds=seconds)
    if answer.status != 200:
        return _refused("pvesh", answer, usage)
    has_data = (answer.body or {}).get("data") is not None
    return _finished("pvesh", host, answer, _json if has_data else None, shown)


PROGRAMS = {program: _table_program(program) for program in TABLES} | {"pvesh": pvesh}
# A subcommand may have a provenance of its own, by its words.
SOURCES = dict.fromkeys(PROGRAMS, belief("qm, pveum, pvesm and pvesh show what no recording has as they show the rest"))
SOURCES |= dict.fromkeys(("qm list", "qm create", "qm config", "qm status", "qm template", "qm destroy"), RECORDED)
SOURCES |= dict.fromkeys(("pveum user list", "pveum role add", "pveum role delete", "pveum acl list"), RECORDED)
SOURCES |= dict.fromkeys((f"pveum user token {verb}" for verb in ("add", "list", "remove")), RECORDED)
SOURCES |= dict.fromkeys(("pvesm status", "pvesm path", "pvesh get", "pvesh create", "pvesh delete"), RECORDED)
