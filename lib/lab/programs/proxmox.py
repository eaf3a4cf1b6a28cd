"""Own qm, pveum, pvesm and pvesh: a table over the REST API, asked as root@pam, as on a real host.

Exit codes, messages and the tables printed follow recordings of a real host, else the programs' source.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from msgspec.structs import replace

from lib.lab.programs import proxmox_arguments as arguments
from lib.lab.programs import proxmox_output, proxmox_text
from lib.lab.programs.host import Host, Output, strerror
from lib.lab.programs.proxmox_columns import columns
from lib.lab.programs.proxmox_commands import ALIASES, TABLES, Entry
from lib.lab.provenance import RECORDED, belief
from lib.lab.pve import api, params
from lib.lab.pve.answers import Answer, Refusal
from lib.lab.pve.params import Parameter, declared
from lib.lab.pve.rights import major

ROOT = "root@pam"
SECONDS = {"qm": 0.6, "pveum": 0.38, "pvesm": 0.38, "pvesh": 0.68}
METHODS = {"get": "GET", "ls": "GET", "create": "POST", "set": "PUT", "delete": "DELETE"}
FORMATS = declared(proxmox_output.OPTIONS, params.NEWEST)
_CHANGES = (("w", "PUT"), ("c", "POST"), ("d", "DELETE"))
_OF_PATH = Entry(operands=("api_path",), formats=True, declaration="api_path:str noproxy?:bool")
_NO_PROXY = declared("noproxy?:bool", params.NEWEST)
_FIXED = {"acl modify": {"delete": "0"}, "acl delete": {"delete": "1"}}


def _helpless(program: str, problem: str) -> Output:
    table = TABLES.get(program, dict.fromkeys(METHODS, _OF_PATH))
    rows = "".join(f"       {_usage(program, name, table[name], params.NEWEST)}" for name in sorted(table))
    told = f"ERROR: {problem}\nUSAGE: {program} <COMMAND> [ARGS] [OPTIONS]\n\n{rows}"
    return Output(255, "", told, seconds=SECONDS[program])


def _table_program(program: str) -> Callable[[Host, list[str], bytes], Output]:
    table = TABLES[program]

    def run(host: Host, argv: list[str], stdin: bytes) -> Output:
        try:
            name, words = arguments.resolve(program, list(table), ALIASES[program], argv)
        except arguments.BadCommandError as problem:
            return _helpless(program, str(problem))
        return replace(_run(program, host, name, words), seconds=SECONDS[program])

    return run


def _declared(name: str, entry: Entry, version: int) -> dict[str, Parameter]:
    """Return the parameters that a subcommand has: those of its request but for the node and what is fixed."""
    found = api.find(entry.method, entry.path.replace("{node}", "node").replace("{", "").replace("}", ""), version)
    known = declared(entry.declaration or (found[0].declaration if found else ""), version)
    return arguments.without(known, "node", *_FIXED.get(name, ()), *(["storage"] if "volume" in entry.operands else []))


def _usage(program: str, name: str, entry: Entry, version: int) -> str:
    known = _declared(name, entry, version)
    options = arguments.without(known, *entry.operands)
    return arguments.usage(f"{program} {name}", list(entry.operands), known, options, entry.formats)


def _run(program: str, host: Host, name: str, words: list[str]) -> Output:
    entry, version = TABLES[program][name], major(host.world)
    known = _declared(name, entry, version)
    options, usage = arguments.without(known, *entry.operands), _usage(program, name, entry, version)
    given: dict[str, str] = {}
    try:
        given = arguments.read(words, list(entry.operands), known, options | (FORMATS if entry.formats else {}))
        shown = _format(given) if entry.formats else {}
        if entry.run is not None:
            return entry.run(host, params.check(entry.declaration, given, version))
        path, sent = _request(name, entry, _from_files(program, host, given), host.node)
    except arguments.BadArgumentsError as problem:
        return Output(255, "", f"{problem}{usage}")
    except OSError as error:
        return Output(2, "", f"can't open '{given['sshkeys']}' - {strerror(error)}\n")
    except Refusal as refusal:
        return _refused(program, refusal.answer(), usage)
    answer = _call(host, entry.method, path, sent)
    if answer.status != 200:
        return _refused(program, answer, usage)
    show = entry.show
    if (program, name) == ("pvesm", "status"):
        show = partial(proxmox_text.storages, version=version)
    if entry.formats and not (show and shown.get("output-format", "text") == "text"):
        show = partial(proxmox_output.shown, options=shown, columns=columns(entry.path, version))
    done = _finished(host, answer, show, entry.ends)
    if (program, name) == ("qm", "set"):
        told = "".join(f" -{key} {'<hidden>' if key == 'cipassword' else sent[key]}" for key in sorted(sent))
        return replace(done, stdout=f"update VM {given['vmid']}:{told}\n")
    return done


def _format(given: dict[str, str]) -> dict[str, str]:
    """Take out how the answer is to be shown. Raises Refusal."""
    shown = {name: given.pop(name) for name in FORMATS if name in given}
    params.check(proxmox_output.OPTIONS, shown, params.NEWEST)
    return shown


def _from_files(program: str, host: Host, given: dict[str, str]) -> dict[str, str]:
    """Read what is named as a file on the command line, and as itself in the request. Raises OSError."""
    if program != "qm" or "sshkeys" not in given:
        return given
    return given | {"sshkeys": quote(host.files.read(host.path(given["sshkeys"])).decode(), safe="-._~")}


def _request(name: str, entry: Entry, given: Mapping[str, str], node: str) -> tuple[str, dict[str, str]]:
    """Return path and parameters of the request that a subcommand makes."""
    sent = {**given, **_FIXED.get(name, {})}
    if name == "user token permissions":
        sent["userid"] += f"!{sent.pop('tokenid')}"
    if "volume" in entry.operands:
        sent["storage"] = sent["volume"].partition(":")[0]
    path = entry.path.replace("{node}", node)
    for key in list(sent):
        if f"{{{key}}}" in path:
            path = path.replace(f"{{{key}}}", sent.pop(key))
    return path, sent


def request_of(argv: list[str], node: str) -> tuple[str, str, dict[str, str]] | None:
    """Return method, path and parameters of the request that a command line makes; None where it makes none."""
    try:
        if argv[0] == "pvesh":
            method, path = METHODS[argv[1]], "/" + argv[2].strip("/")
            return method, path, arguments.without(_pvesh_given(method, path, argv[3:], params.NEWEST), *FORMATS)
        table = TABLES[argv[0]]
        name, words = arguments.resolve(argv[0], list(table), ALIASES[argv[0]], argv[1:])
        entry, known = table[name], _declared(name, table[name], params.NEWEST)
        given = arguments.read(words, list(entry.operands), known, arguments.without(known, *entry.operands) | FORMATS)
    except (LookupError, arguments.BadCommandError, arguments.BadArgumentsError):
        return None
    return None if entry.run else (entry.method, *_request(name, entry, arguments.without(given, *FORMATS), node))


def _call(host: Host, method: str, path: str, given: Mapping[str, str]) -> Answer:
    assert host.api is not None
    return host.api.call(ROOT, method, path, given, host.node)


def _refused(program: str, answer: Answer, usage: str) -> Output:
    """Say why, with the exit code of the real program: Perl's errno, where `die` found one set."""
    body = answer.body or {}
    message = str(body.get("message") or answer.reason).rstrip("\n")
    errors: dict[str, str] = body.get("errors") or {}
    if answer.status == 400 and errors:
        told = "".join(f"{name}: {text}\n" for name, text in errors.items())
        return Output(255, "", f"400 {message}\n{told}{usage}")
    missing = program == "qm" and message.startswith("Configuration file ")
    errno_left = program == "pvesh" and answer.status == 500 and not message.startswith("hostname lookup")
    return Output(2 if missing or errno_left else 255, "", f"{message}\n")


def _finished(host: Host, answer: Answer, show: Callable[[Any], str] | None, ends: bool) -> Output:
    """Show the answer; where it began a task, go on until that has ended, as the real programs do."""
    data = (answer.body or {}).get("data")
    out = show(data) if show is not None and data is not None else ""
    if answer.upid is None:
        return Output(0, out)
    assert host.api is not None
    task = host.world.get("task", answer.upid) or {}
    scale = host.world.task_scale
    seconds = task.get("duration", 0) / scale if scale else 0
    if task.get("status") == "running":
        host.world.put("task", answer.upid, task | {"due": 0.0})
        host.api.settle()
        task = host.world.get("task", answer.upid) or {}
    said = "".join(f"{line}\n" for line in task.get("log", []) if not line.startswith("TASK "))
    well = task.get("exitstatus") == "OK"
    return Output(
        255 if ends and not well else 0, said + out, "" if well else f"{task.get('exitstatus')}\n", seconds=seconds
    )


def _pvesh_given(method: str, path: str, words: list[str], version: int) -> dict[str, str]:
    """Return the options of a pvesh line. Raises BadArgumentsError; LookupError where there is no such path."""
    found = api.find(method, path, version)
    if found is None:
        raise LookupError(path)
    known = arguments.without(declared(found[0].declaration, version), *found[1]) | _NO_PROXY
    return arguments.without(arguments.read(words, [], known, known | FORMATS), *_NO_PROXY)


def pvesh(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Make one request: `pvesh get|create|set|delete|ls PATH [--name value …]`."""
    return replace(_pvesh(host, argv), seconds=SECONDS["pvesh"])


def _pvesh(host: Host, argv: list[str]) -> Output:
    try:
        verb, words = arguments.resolve("pvesh", [*METHODS, "usage"], {}, argv)
    except arguments.BadCommandError as problem:
        return _helpless("pvesh", str(problem))
    version = major(host.world)
    if verb == "usage":
        return _usages(words, version)
    usage = _usage("pvesh", verb, _OF_PATH, version)
    if not words:
        return Output(255, "", f"400 not enough arguments\n{usage}")
    path = "/" + words[0].strip("/")
    try:
        given = _pvesh_given(METHODS[verb], path, words[1:], version)
        shown = _format(given)
    except LookupError:
        if verb == "ls":
            return Output(2, "", f"no such resource '{words[0]}'\n")
        return Output(1, "", f"No '{verb}' handler defined for '{words[0]}'\n")
    except arguments.BadArgumentsError as problem:
        return Output(255, "", f"{problem}{usage}")
    except Refusal as refusal:
        return _refused("pvesh", refusal.answer(), usage)
    answer = _call(host, METHODS[verb], path, given)
    if answer.status != 200:
        return _refused("pvesh", answer, usage)
    if verb == "ls":
        return _listed(path, (answer.body or {}).get("data"), shown, version)
    found = api.find(METHODS[verb], path, version)
    keys = columns(found[0].path if found and verb == "get" else "", version)
    return _finished(host, answer, partial(proxmox_output.shown, options=shown, columns=keys), ends=False)


def _usages(words: list[str], version: int) -> Output:
    """Print how a path may be called: a line for each method that it has."""
    known = declared("api_path:str command?:(get|set|create|delete) returns?:bool verbose?:bool", version)
    options = arguments.without(known, "api_path")
    try:
        given = arguments.read(words, ["api_path"], known, options)
    except arguments.BadArgumentsError as problem:
        return Output(255, "", f"{problem}{arguments.usage('pvesh usage', ['api_path'], known, options, False)}")
    path, out = given["api_path"], ""
    for verb in [each for each in ("get", "set", "create", "delete") if given.get("command", each) == each]:
        if found := api.find(METHODS[verb], path, version):
            free = arguments.without(declared(found[0].declaration, version), *found[1])
            out += f"USAGE: {arguments.usage(f'pvesh {verb} {path}', [], free, free, False)}"
    missing = (
        f"no '{given['command']}' handler for '{path}'\n" if "command" in given else f"no such resource '{path}'\n"
    )
    return Output(0, out) if out else Output(2, "", missing)


def _listed(path: str, data: Any, shown: Mapping[str, str], version: int) -> Output:
    """Print what lies below a path, and what may be done with each: `Drwcd`."""
    found = api.find("GET", path, version)
    key = _key_of_children(found[0].path) if found else ""
    if not key:
        return Output(2, "", f"resource '{path}' does not define child links\n")
    names = [str(row.get(key) or row.get("subdir") or row.get("name")) for row in data]
    rows = [{"capabilities": _capabilities(f"{path.rstrip('/')}/{name}", version), "name": name} for name in names]
    rows.sort(key=lambda row: row["name"])
    options = {"noborder": "1", "noheader": "1", **shown}
    if not rows or options.get("output-format", "text") != "text":
        return Output(0, proxmox_output.shown(rows, options, {}))
    return Output(0, "".join(f"{row['capabilities']:<12} {row['name']}\n" for row in rows))


@functools.cache
def _key_of_children(path: str) -> str:
    """Return the key by which an answer names what lies below a route's path; empty where nothing does."""
    start = f"{path.rstrip('/')}/"
    below = {route.path.removeprefix(start) for route in api.ROUTES if route.path.startswith(start)}
    named = [each.strip("{}") for each in below if each.startswith("{") and "/" not in each]
    return {"volume": "volid"}.get(named[0], named[0]) if named else "subdir" if below - {""} else ""


def _capabilities(path: str, version: int) -> str:
    read = api.find("GET", path, version)
    kinds = "--" if read is None else "Dr" if _key_of_children(read[0].path) else "-r"
    also = (letter if api.find(method, path, version) else "-" for letter, method in _CHANGES)
    return kinds + "".join(also)


PROGRAMS = {program: _table_program(program) for program in TABLES} | {"pvesh": pvesh}
# A subcommand may have a provenance of its own, by its words.
SOURCES = dict.fromkeys(PROGRAMS, belief("qm, pveum, pvesm and pvesh show what no recording has as their source says"))
SOURCES |= dict.fromkeys(("qm list", "qm create", "qm config", "qm status", "qm template", "qm destroy"), RECORDED)
SOURCES |= dict.fromkeys(("pveum user list", "pveum role add", "pveum role delete", "pveum acl list"), RECORDED)
SOURCES |= dict.fromkeys((f"pveum user token {verb}" for verb in ("add", "list", "remove")), RECORDED)
SOURCES |= dict.fromkeys(("pvesm status", "pvesm path", "pvesh get", "pvesh create", "pvesh delete"), RECORDED)
