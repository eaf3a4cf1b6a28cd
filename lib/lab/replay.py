"""Own the replay of a recording against a private lab: send its exchanges in order, compare the answers.

The private lab has the shape of the recorded host (one node, no Ceph, fresh users). What the
recording itself shows to have been there before (files in a listing, a duplicate that
nothing in it had made, what its URLs served) is put there first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.lab.files import Files, make_filesystem
from lib.lab.pve import storage_state, tokens
from lib.lab.pve.answers import Answer
from lib.lab.pve.api import Api
from lib.lab.pve.http import respond
from lib.lab.pve.users import digest
from lib.lab.world import World

NODE = "pve"
IMAGE_BYTES = 64 << 20  # virtual size of the disk image that the recording's web server gave out
# Figures that are another at every look, and what is made up anew each time.
VOLATILE = """cpu disk diskread diskwrite mem memhost maxcpu maxmem uptime idle wait free total used available
used_fraction avail ctime digest starttime endtime pid pstart value ticket CSRFPreventionToken
snaptime netin netout time localtime"""
_NAMES = ("volid", "vmid", "userid", "roleid", "storage", "tokenid", "upid", "iface", "key", "poolid", "name", "id")
_BLANKS = (
    (re.compile(r"UPID:([\w-]+):[^:]+:[^:]+:[^:]+:"), r"UPID:\1:::"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"(?i:bc:24:11(:[0-9a-f]{2}){3})"), "<mac>"),
    (re.compile(r"ctime=\d+"), "ctime="),
    (re.compile(r"instance-id: [0-9a-f]{40}"), "instance-id: "),
)


@dataclass
class Result:
    """One exchange: what was sent, and in what the answer differs from the recorded one."""

    number: int
    sent: str
    differences: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Tell whether nothing differs."""
        return not self.differences


def replay(path: Path) -> list[Result]:
    """Replay a recording and return a result for each exchange, in order."""
    recording = json.loads(path.read_text())
    exchanges = recording["exchanges"]
    api = Api(_world(recording))
    values: dict[str, str] = {}
    results = []
    for number, exchange in enumerate(exchanges):
        result = Result(
            number, f"{exchange['as']} {exchange['method']} {exchange['path']} {_short(exchange['params'])}"
        )
        answer = _send(api, values, exchange)
        data = (answer.body or {}).get("data")
        if isinstance(data, dict) and "full-tokenid" in data and "value" in data:
            values[data["full-tokenid"]] = data["value"]
        result.differences += _compare(api, exchange, answer)
        results.append(result)
    return results


def _short(params: Mapping[str, Any]) -> str:
    text = json.dumps(params)
    return text if len(text) < 120 else text[:117] + "..."


# ------------------------------------------------------------------ sending


def _send(api: Api, values: dict[str, str], exchange: Mapping[str, Any]) -> Answer:
    headers, cookies = _credentials(api, values, exchange["as"])
    params = {name: str(value) for name, value in exchange["params"].items()}
    return respond(api, NODE, exchange["method"], exchange["path"], headers, cookies, params)[1]


def _credentials(api: Api, values: dict[str, str], name: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return headers and cookies of an identity as the recording names it."""
    if name == "anonymous":
        return {}, {}
    if name.endswith("-token"):  # bad-token, unknown-token, malformed-token …
        known = next(iter(values), "nobody@pve!none") if name.startswith("bad") else "nobody@pve!none"
        text = "PVEAPIToken=garbage" if name.startswith("malformed") else f"PVEAPIToken={known}=not-the-value"
        return {"Authorization": text}, {}
    if "!" in name:
        return {"Authorization": f"PVEAPIToken={name}={values.get(name, 'unknown')}"}, {}
    user, _, without = name.partition(" without ")
    cookies = {"PVEAuthCookie": tokens.ticket(api.ticket_key, user, api.clock())}
    csrf = tokens.csrf_token(api.ticket_key, user, api.clock())
    return ({} if without else {"CSRFPreventionToken": csrf}), cookies


# ---------------------------------------------------------------- comparing


def _compare(api: Api, exchange: Mapping[str, Any], answer: Answer) -> Iterator[str]:
    if answer.status != exchange["status"]:
        yield f"status {answer.status}, recorded {exchange['status']}"
    if _blank(answer.reason) != _blank(exchange["reason"]):
        yield f"reason {answer.reason!r}, recorded {exchange['reason']!r}"
    recorded = exchange["body"]
    if isinstance(recorded, dict) and "raw" in recorded:
        text = "" if answer.body is None else json.dumps(answer.body)
        if text != recorded["raw"]:
            yield f"body {text!r}, recorded {recorded['raw']!r}"
    else:
        yield from _differences("body", answer.body, recorded)
    if "task" in exchange and answer.upid:
        task = api.world.get("task", answer.upid) or {}
        for key in ("exitstatus", "type", "id", "user"):
            if task.get(key) != exchange["task"][key]:
                yield f"task {key} {task.get(key)!r}, recorded {exchange['task'][key]!r}"


def _differences(where: str, got: Any, recorded: Any) -> Iterator[str]:
    if isinstance(got, dict) and isinstance(recorded, dict):
        for key in sorted(set(got) | set(recorded)):
            if key not in got:
                yield f"{where}.{key} is missing"
            elif key not in recorded:
                yield f"{where}.{key} is not in the recording (got {got[key]!r})"
            elif key in VOLATILE.split() or (key == "maxdisk" and got.get("type") in ("node", "storage")):
                if _kind(got[key]) != _kind(recorded[key]):
                    yield f"{where}.{key} is {got[key]!r}, recorded {recorded[key]!r}"
            elif key == "content" and "," in str(recorded[key]):
                yield from _differences(f"{where}.{key}", sorted(got[key].split(",")), sorted(recorded[key].split(",")))
            else:
                yield from _differences(f"{where}.{key}", got[key], recorded[key])
    elif isinstance(got, list) and isinstance(recorded, list):
        yield from _list_differences(where, got, recorded)
    elif isinstance(got, str) and isinstance(recorded, str):
        if _blank(got) != _blank(recorded):
            yield f"{where} is {got!r}, recorded {recorded!r}"
    elif got != recorded or _kind(got) != _kind(recorded):
        yield f"{where} is {got!r}, recorded {recorded!r}"


def _list_differences(where: str, got: list[Any], recorded: list[Any]) -> Iterator[str]:
    """Compare two lists whose order says nothing: entries are matched by their name."""
    ours, theirs = _by_name(got), _by_name(recorded)
    for name in sorted(set(ours) | set(theirs)):
        if name not in ours:
            yield f"{where}[{name}] is missing"
        elif name not in theirs:
            yield f"{where}[{name}] is not in the recording"
        else:
            yield from _differences(f"{where}[{name}]", ours[name], theirs[name])


def _by_name(entries: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in entries:
        name = str(entry)
        if isinstance(entry, dict):
            keys = [key for key in _NAMES if key in entry]
            name = "/".join(str(entry[key]) for key in keys if key in ("path", "type", keys[0])) if keys else str(entry)
            if "path" in entry and "ugid" in entry:
                name = f"{entry['path']} {entry['type']} {entry['ugid']} {entry['roleid']}"
        found[_blank(name)] = entry
    return found


def _kind(value: Any) -> str:
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def _blank(text: str) -> str:
    for pattern, blank in _BLANKS:
        text = pattern.sub(blank, text)
    return text


# ------------------------------------------------------------------ seeding


def _world(recording: Mapping[str, Any]) -> World:
    exchanges = recording["exchanges"]
    world = World()
    version = recording["pve_version"]
    meta = {"pve": version["release"], "task_scale": 0.0, "nameservers": ["10.255.255.53"]} | version
    world.put("meta", "lab", meta | {"internet": _internet(exchanges)})
    # The recorded host was a container: no systemd to ask for the time zone, a bridge that nothing was set up on.
    plain = {"families": ["inet"], "method": "manual", "method6": "manual"}
    bridge = {"iface": "vmbr0", "type": "bridge", "bridge_ports": "", "bridge_stp": "off", "bridge_fd": "0"}
    interfaces = [
        bridge | plain | {"autostart": 1, "priority": 3},
        {"iface": "eth0", "type": "eth", "active": 1, "exists": 1} | plain,
    ]
    node = {"name": NODE, "address": "127.0.0.1", "nodeid": 1, "online": True, "cpus": 2, "memory": 24 << 30}
    node |= {"boot_time": 0, "bridges": ["vmbr0"], "clock_offset": 0.0, "timezone": None, "interfaces": interfaces}
    world.put("node", NODE, node)
    world.put("host", NODE, {"packages": {}, "units": {}, "mounts": {}, "mapped": {}, "enterprise_repo": False})
    make_filesystem(world, NODE)
    content = "snippets,vztmpl,rootdir,backup,images,iso"
    world.put(
        "storage", "local", {"type": "dir", "path": "/var/lib/vz", "content": content, "prune-backups": "keep-all=1"}
    )
    Files(world, NODE).mkdir("/var/lib/vz", parents=True)
    world.put("user", "root@pam", {"enable": 1, "expire": 0})
    _seed_users(world, exchanges)
    _seed_files(world, exchanges)
    return world


def _internet(exchanges: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the recording's URLs served: size from the metadata, digest from the checksums that were right."""
    found: dict[str, Any] = {}
    for exchange in exchanges:
        url = exchange["params"].get("url")
        data = exchange["body"].get("data")
        if isinstance(data, dict) and "mimetype" in data and url:
            facts = {"format": "qcow2", "virtual_size": IMAGE_BYTES}
            found[url] = {
                "size": data["size"],
                "sha256": "",
                "text": None,
                "mimetype": data["mimetype"],
                "facts": facts,
            }
        match = re.search(r"got '([0-9a-f]{64})'", str(exchange.get("task", {}).get("exitstatus", "")))
        if match and url in found:
            found[url]["sha256"] = match[1]
    return found


def _seed_users(world: World, exchanges: list[Mapping[str, Any]]) -> None:
    """Put in the users that were there already: refused as duplicates of something that nothing had made."""
    made: set[str] = set()
    for exchange in exchanges:
        userid = exchange["params"].get("userid", "")
        if exchange["path"] == "/access/users" and exchange["method"] == "POST":
            if exchange["status"] == 200:
                made.add(userid)
            elif f"user '{userid}' already exists" in exchange["reason"] and userid not in made:
                world.put("user", userid, {"enable": 1, "expire": 0, "groups": []})
        if exchange["path"] == "/access/ticket" and exchange["status"] == 200 and "password" in exchange["params"]:
            name = exchange["params"]["username"]
            if user := world.get("user", name):
                world.put("user", name, user | {"password_sha256": digest(str(exchange["params"]["password"]))})


def _seed_files(world: World, exchanges: list[Mapping[str, Any]]) -> None:
    """Put in the files that the first listing of a storage shows."""
    sections = {
        exchange["params"]["storage"]: dict(exchange["params"])
        for exchange in exchanges
        if (exchange["method"], exchange["path"]) == ("POST", "/storage") and exchange["params"].get("type") == "dir"
        if exchange["status"] == 200
    }
    internet = (world.get("meta", "lab") or {})["internet"]
    digests = {entry["size"]: entry["sha256"] for entry in internet.values()}
    listed: set[str] = set()
    files = Files(world, NODE)
    for exchange in exchanges:
        match = re.fullmatch(rf"/nodes/{NODE}/storage/([^/]+)/content", exchange["path"])
        if not match or exchange["method"] != "GET" or exchange["status"] != 200 or match[1] in listed:
            continue
        listed.add(match[1])
        for entry in exchange["body"]["data"] if match[1] in sections else []:
            path = storage_state.file_of(sections[match[1]], entry["volid"].partition(":")[2])
            files.mkdir(path.rpartition("/")[0], parents=True)
            is_disk = entry["content"] == "images"
            size = entry["used"] if is_disk else entry["size"]
            facts = {"format": entry["format"], "virtual_size": entry["size"] if is_disk else IMAGE_BYTES}
            files.put_synthetic(path, size, digests.get(size, "0" * 64), facts)
