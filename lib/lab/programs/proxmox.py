"""Own qm, pveum, pvesm and pvesh: a table over the REST API, asked as root@pam, as on a real host.

Exit codes, messages and the tables printed follow recordings of a real host. Where no
recording tells how text looks, JSON is printed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec.structs import replace

from lib.lab.programs import proxmox_text
from lib.lab.programs.host import Host, Output
from lib.lab.programs.proxmox_commands import TABLES, Entry
from lib.lab.provenance import RECORDED, belief
from lib.lab.pve import api, storage_state
from lib.lab.pve.answers import Answer
from lib.lab.pve.params import spell
from lib.lab.pve.rights import major

ROOT = "root@pam"
SECONDS = {"qm": 0.6, "pveum": 0.38, "pvesm": 0.38, "pvesh": 0.68}
FORMAT_OPTIONS = ("output-format", "human-readable", "noborder", "noheader", "quiet")
UNKNOWN = "property is not defined in schema"


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


def _helpless(program: str, problem: str) -> Output:
    rows = "".join(f"       {_usage(program, name, entry)}" for name, entry in sorted(TABLES[program].items()))
    told = f"ERROR: {problem}\nUSAGE: {program} <COMMAND> [ARGS] [OPTIONS]\n\n{rows}"
    return Output(255, "", told, seconds=SECONDS[program])


def _table_program(program: str) -> Callable[[Host, list[str], bytes], Output]:
    table = TABLES[program]

    def run(host: Host, argv: list[str], stdin: bytes) -> Output:
        if not argv:
            return _helpless(program, "no command specified")
        name = next((" ".join(argv[:n]) for n in (3, 2, 1) if " ".join(argv[:n]) in table), None)
        if name is None:
            extra = _extra(program, host, argv)
            return extra or _helpless(program, f"unknown command '{program} {argv[0]}'")
        return _run(program, host, name, table[name], argv[len(name.split()) :])

    return run


def _extra(program: str, host: Host, argv: list[str]) -> Output | None:
    """Run what is no request: `qm unlock VMID`, `pvesm path VOLUME`."""
    if program == "qm" and len(argv) == 2 and argv[0] == "unlock":
        return _unlock(host, argv[1])
    if program != "pvesm" or len(argv) != 2 or argv[0] != "path":
        return None
    storage, sign, volume = argv[1].partition(":")
    if not sign:
        return Output(255, "", f"unable to parse volume ID '{argv[1]}'\n", seconds=SECONDS[program])
    found = host.world.get("storage", storage)
    if found is None:
        return Output(255, "", f"storage '{storage}' does not exist\n", seconds=SECONDS[program])
    if found["type"] == "rbd":
        return Output(0, f"rbd:{found['pool']}/{volume}:conf=/etc/pve/ceph.conf\n", seconds=SECONDS[program])
    return Output(0, f"{storage_state.file_of(found, volume)}\n", seconds=SECONDS[program])


def _unlock(host: Host, vmid: str) -> Output:
    guest = host.world.get("guest", vmid)
    if guest is None or guest["node"] != host.node:
        missing = f"Configuration file 'nodes/{host.node}/qemu-server/{vmid}.conf' does not exist\n"
        return Output(2, "", missing, seconds=SECONDS["qm"])
    host.world.put("guest", vmid, guest | {"lock": ""})
    return Output(0, "", seconds=SECONDS["qm"])


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
    show = entry.show
    if (program, name) == ("pvesm", "status"):
        show = partial(proxmox_text.storages, version=major(host.world))
    done = _finished(program, host, answer, show, shown)
    if (program, name) == ("qm", "set"):
        told = "".join(f" -{key} {'<hidden>' if key == 'cipassword' else params[key]}" for key in sorted(params))
        return replace(done, stdout=f"update VM {rest[0]}:{told}\n")
    return done


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
            return Output(0, proxmox_text.as_json(data), seconds=seconds)
        return Output(0, show(data) if show is not None and data is not None else "", seconds=seconds)
    task = host.world.get("task", answer.upid) or {}
    scale = host.world.task_scale
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
    return _finished("pvesh", host, answer, proxmox_text.as_json if has_data else None, shown)


PROGRAMS = {program: _table_program(program) for program in TABLES} | {"pvesh": pvesh}
# A subcommand may have a provenance of its own, by its words.
SOURCES = dict.fromkeys(PROGRAMS, belief("qm, pveum, pvesm and pvesh show what no recording has as they show the rest"))
SOURCES |= dict.fromkeys(("qm list", "qm create", "qm config", "qm status", "qm template", "qm destroy"), RECORDED)
SOURCES |= dict.fromkeys(("pveum user list", "pveum role add", "pveum role delete", "pveum acl list"), RECORDED)
SOURCES |= dict.fromkeys((f"pveum user token {verb}" for verb in ("add", "list", "remove")), RECORDED)
SOURCES |= dict.fromkeys(("pvesm status", "pvesm path", "pvesh get", "pvesh create", "pvesh delete"), RECORDED)
