"""Own what a recording is: requests to the REST API or command lines, and what a real Proxmox VE answered.

Both are brought to one form, `Exchange`, so that what is done beforehand need not know which
it was. `Result` is what the replay tells of one of them.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from lib.lab.programs import proxmox

NEEDED = {"exchanges": {"method", "path", "status"}, "commands": {"command", "exit", "stdout", "stderr"}}
NODE = "pve"
ROOT = "root@pam"
_UPID = re.compile(r"UPID:[^:]+:[^:]*:[^:]*:[^:]*:([^:]*):([^:]*):([^:]*):")
# What is another at every run: recordings blank some of it, and the lab makes up its own.
_BLANKS = (
    (re.compile(r"UPID:([\w-]+):[^:]+:[^:]+:[^:]+:"), r"UPID:\1:::"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"(?i:bc:24:11(:[0-9a-f]{2}){3})"), "<mac>"),
    (re.compile(r"creation-qemu=[\d.]+"), "creation-qemu="),
    (re.compile(r"(pc-q35|pc-i440fx)-[\d.]+(\+pve\d+)?"), r"\1"),
    (re.compile(r"ctime=\d+"), "ctime="),
    (re.compile(r"instance-id: [0-9a-f]{40}"), "instance-id: "),
)


class Exchange(msgspec.Struct, frozen=True):
    """One request and its recorded answer; `data` is what a good answer carries, `task` what became of its task."""

    identity: str
    method: str
    path: str
    params: Mapping[str, Any]
    status: int
    reason: str
    body: Any
    task: Mapping[str, Any] | None = None

    @property
    def data(self) -> Any:
        """What the answer carries, or None."""
        return self.body.get("data") if isinstance(self.body, dict) else None

    @property
    def well(self) -> bool:
        """Tell whether the request was carried out, and so was its task."""
        return self.status == 200 and (self.task or {}).get("exitstatus", "OK") == "OK"

    def is_(self, method: str, pattern: str) -> re.Match[str] | None:
        """Match method and path."""
        return re.fullmatch(pattern, self.path) if self.method == method else None


class Result(msgspec.Struct):
    """One exchange or command: what was sent, and in what the answer differs from the recorded one."""

    number: int
    sent: str
    differences: list[str] = []

    @property
    def agrees(self) -> bool:
        """Tell whether nothing differs."""
        return not self.differences


def load(path: Path) -> dict[str, Any]:
    """Read a recording.

    Raises:
        ValueError: where it is none.
    """
    document = json.loads(path.read_text())
    if not isinstance(document, dict) or not ({"exchanges", "commands"} & set(document)):
        raise ValueError(f"{path}: neither `exchanges` nor `commands` in it")
    for kind, needed in NEEDED.items():
        rows = document.get(kind, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) and needed <= set(row) for row in rows):
            raise ValueError(f"{path}: `{kind}` is no list of such with {', '.join(sorted(needed))}")
    return document


def exchanges_of(document: Mapping[str, Any]) -> list[Exchange]:
    """Return the requests of a recording; of command lines, those that are requests to the API."""
    names = ("as", "method", "path", "params", "status", "reason", "body", "task")
    if "exchanges" in document:
        return [Exchange(*(each.get(name) for name in names)) for each in document["exchanges"]]
    return list(_requests(document["commands"]))


def _requests(commands: list[Mapping[str, Any]]) -> Iterator[Exchange]:
    for command in commands:
        request = proxmox.request_of(shlex.split(command["command"]), NODE)
        if request is None:
            continue
        try:
            data = json.loads(command["stdout"])
        except ValueError:
            data = None
        status, reason = (200, "OK") if command["exit"] == 0 else (500, command["stderr"].rstrip("\n"))
        yield Exchange(ROOT, *request, status, reason, {"data": data})


def version_of(document: Mapping[str, Any], name: str = "") -> dict[str, str]:
    """Return release, version and repoid of the recorded Proxmox VE: the header, an answer or the name says them."""
    said = document.get("pve_version")
    for shown in [said, *(exchange.data for exchange in exchanges_of(document) if exchange.path.endswith("/version"))]:
        if isinstance(shown, dict) and {"release", "version", "repoid"} <= set(shown):
            return {key: str(value) for key, value in shown.items()}
    text = f"{said or ''} {json.dumps(document.get('commands', []))}"
    match = re.search(r"pve-manager/([\d.]+)/(\w+)", text)
    if match:
        version, repoid = match.groups()
    else:
        found = re.search(r"\d+\.\d+(\.\d+)?", f"{said or ''} {name}")
        version, repoid = found[0] if found else "9.2.11", "0000000000000000"
    return {"release": ".".join(version.split(".")[:2]), "version": version, "repoid": repoid}


def blank(text: str) -> str:
    """Return a text without what is another at every run."""
    for pattern, replacement in _BLANKS:
        text = pattern.sub(replacement, text)
    return text


def task_of(upid: Any) -> tuple[str, str, str] | None:
    """Return type, id and identity of the task that a UPID names."""
    match = _UPID.fullmatch(upid) if isinstance(upid, str) else None
    return (match[1], match[2], match[3]) if match else None
