"""Own the world that a recording began in: one node, no Ceph, and what its own answers show to have been there.

A recording is a part of what somebody did to a host. What its answers show before any of its requests
had made it (a user, a storage, a file, a guest, how the machine is set up) is a precondition and is
put there first. What its own requests make is never put there: that the lab has to do by its rules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lib.lab.files import Files, make_filesystem
from lib.lab.pve import storage_state, tokens, users
from lib.lab.pve.access import acl_key
from lib.lab.pve.formats import split_list
from lib.lab.pve.rights import Rights
from lib.lab.pve.users import digest
from lib.lab.replay import belongings
from lib.lab.replay.recording import NODE, ROOT, Exchange
from lib.lab.world import Document, World

# The object that a path is about: kind → pattern with its name.
_ABOUT = {
    "token": r"/access/users/([^/]+)/token/([^/]+)",
    "user": r"/access/users/([^/]+)(?:/.*)?",
    "group": r"/access/groups/([^/]+)",
    "role": r"/access/roles/([^/]+)",
    "pool": r"/pools/(.+)",
    "storage": r"/(?:storage|nodes/[^/]+/storage)/([^/]+)(?:/.*)?",
    "guest": r"/nodes/[^/]+/qemu/(\d+)(?:/.*)?",
}
# What makes an object: path → its kind and the parameter that names it.
_MADE_BY = {
    "/access/users": ("user", "userid"),
    "/access/groups": ("group", "groupid"),
    "/access/roles": ("role", "roleid"),
    "/pools": ("pool", "poolid"),
    "/storage": ("storage", "storage"),
    f"/nodes/{NODE}/qemu": ("guest", "vmid"),
}
# What a list of the whole shows: path → kind and the key that names an entry.
_LISTS = {path: (kind, key) for path, (kind, key) in _MADE_BY.items()}
_THERE = re.compile(r"already (exists|defined)")
# What is refused because of how a guest is: it is there.
_OF_GUEST = re.compile(
    r"VM is (running|locked)|VM \d+ (is )?(not |already )?running|you can't .*VM|VM contains snapshots"
)


def world_of(exchanges: list[Exchange], version: Mapping[str, str]) -> World:
    """Return the world that the recording began in."""
    world = _bare(version)
    belongings.describe_machine(world, exchanges)
    world.put("meta", "lab", world.lab | {"internet": belongings.internet(exchanges)})
    before = Before(world, exchanges)
    for number, exchange in enumerate(exchanges):
        with belongings.unreadable():
            before.look(number, exchange)
    _passwords(world, exchanges)
    return world


def _bare(version: Mapping[str, str]) -> World:
    world = World()
    meta = {"pve": version["release"], "task_scale": 0.0, "nameservers": [], "kernel": "unknown"}
    world.put("meta", "lab", meta | dict(version))
    node = {"name": NODE, "address": "127.0.0.1", "nodeid": 1, "online": True, "cpus": 2, "memory": 24 << 30}
    node |= {"boot_time": 0, "bridges": [], "clock_offset": 0.0, "timezone": "Etc/UTC", "interfaces": []}
    world.put("node", NODE, node)
    packages = {"pve-manager": version["version"]}
    world.put("host", NODE, {"packages": packages, "units": {}, "mounts": {}, "mapped": {}})
    make_filesystem(world, NODE)
    # What PVE::Storage::Plugin makes of a configuration that nobody wrote yet.
    local = {"type": "dir", "path": "/var/lib/vz", "content": "images,rootdir,vztmpl,iso,backup,snippets"}
    local["prune-backups"] = "keep-all=1"
    world.put("storage", "local", local)
    Files(world, NODE).mkdir("/var/lib/vz", parents=True)
    world.put("user", ROOT, {"enable": 1, "expire": 0})
    return world


def _passwords(world: World, exchanges: list[Exchange]) -> None:
    """Give the users the passwords that they log in with before the recording sets any."""
    for exchange in exchanges:
        if exchange.is_("POST", "/access/ticket") and exchange.status == 200 and "password" in exchange.params:
            name = str(exchange.params["username"])
            userid = name if "@" in name else f"{name}@{exchange.params.get('realm', 'pam')}"
            user = world.get("user", userid)
            if user is not None and "password_sha256" not in user:
                world.put("user", userid, user | {"password_sha256": digest(str(exchange.params["password"]))})


class Before:
    """What the exchanges so far have made, and what was there without them."""

    def __init__(self, world: World, exchanges: list[Exchange]) -> None:
        self._world = world
        self._exchanges = exchanges
        self._decided = {("user", ROOT)} | {("storage", "local") for _ in self._unlisted_local()}
        self._listed: set[str] = set()

    def _unlisted_local(self) -> list[None]:
        shown = any(each.path.startswith("/storage") and "local" in str(each.data) for each in self._exchanges)
        return [] if shown else [None]

    def look(self, number: int, exchange: Exchange) -> None:
        """Take in one exchange: what it shows or needs that is not decided yet was there before."""
        made = self._made_by(exchange)
        ended = str((exchange.task or {}).get("exitstatus", ""))
        if made is not None and made not in self._decided and _THERE.search(f"{exchange.reason} {ended}"):
            self._put(number, *made)
        if made is not None and exchange.status == 200:
            self._decided.add(made)
        self._identity(number, exchange.identity, exchange.status)
        if exchange.status == 500 and _OF_GUEST.search(exchange.reason):
            self._about(number, exchange, ended)
        if exchange.status != 200:
            return
        self._listing(number, exchange)
        if exchange.path == "/access/acl":
            self._acl(number, exchange)
        if exchange.is_("DELETE", r"/access/users/[^/]+"):  # is a success without the user, too
            return
        if exchange.path == "/pools" and exchange.method != "POST" and "poolid" in exchange.params:
            self._need(number, "pool", str(exchange.params["poolid"]))
        self._about(number, exchange, ended)
        if exchange.method != "GET":
            for storage in belongings.storages_of(dict(exchange.params)):
                if f"storage '{storage}' does not exist" not in ended:
                    self._need(number, "storage", storage)
        self._content(exchange)

    def _about(self, number: int, exchange: Exchange, ended: str) -> None:
        """What the path names is there; but of a guest it may be the task that misses it."""
        for kind, pattern in _ABOUT.items():
            if match := re.fullmatch(pattern, exchange.path):
                name = "!".join(match.groups())
                if not (
                    kind == "guest" and re.search(rf"/{name}\.conf' does not|find configuration .* VM {name}\b", ended)
                ):
                    self._need(number, kind, name)
                return

    def _made_by(self, exchange: Exchange) -> tuple[str, str] | None:
        if exchange.method != "POST":
            return None
        if exchange.path in _MADE_BY:
            kind, name = _MADE_BY[exchange.path]
            return kind, str(exchange.params.get(name, ""))
        if match := re.fullmatch(_ABOUT["token"], exchange.path):
            return "token", "!".join(match.groups())
        if exchange.path.endswith("/clone"):
            return "guest", str(exchange.params.get("newid", ""))
        return None

    def _need(self, number: int, kind: str, name: str) -> None:
        if (kind, name) not in self._decided and not (kind == "role" and Rights.is_special(name)):
            self._put(number, kind, name)

    def _identity(self, number: int, identity: str, status: int) -> None:
        """A request as a user or a token that was let in shows that there is one."""
        name = identity.partition(" ")[0]
        if status != 401 and "@" in name:
            self._need(number, "user", name.partition("!")[0])
            if "!" in name:
                self._need(number, "token", name)

    def _listing(self, number: int, exchange: Exchange) -> None:
        if exchange.method != "GET" or exchange.path not in _LISTS or not isinstance(exchange.data, list):
            return
        kind, key = _LISTS[exchange.path]
        for entry in exchange.data:
            name = str(entry[key])
            if (kind, name) not in self._decided and not (kind == "role" and Rights.is_special(name)):
                self._put(number, kind, name, entry)

    def _acl(self, number: int, exchange: Exchange) -> None:
        """Decide on what is granted, and put in what a listing shows that nobody had granted."""
        if exchange.method == "PUT":
            for role in split_list(str(exchange.params["roles"])):
                self._need(number, "role", role)
            for kind, names in (("user", "users"), ("group", "groups"), ("token", "tokens")):
                for name in split_list(str(exchange.params.get(names, ""))):
                    if not exchange.params.get("delete"):
                        self._need(number, kind, name)
                    for role in split_list(str(exchange.params["roles"])):
                        self._decided.add(("acl", acl_key(str(exchange.params["path"]), kind, name, role)))
            return
        for entry in exchange.data or []:
            key = acl_key(entry["path"], entry["type"], entry["ugid"], entry["roleid"])
            if ("acl", key) not in self._decided:
                self._decided.add(("acl", key))
                self._world.put("acl", key, dict(entry))

    def _content(self, exchange: Exchange) -> None:
        match = exchange.is_("GET", rf"/nodes/{NODE}/storage/([^/]+)/content")
        if match and match[1] not in self._listed and not exchange.params:
            self._listed.add(match[1])
            index = self._exchanges.index(exchange)
            belongings.put_content(self._world, self._exchanges, index, match[1])

    # --------------------------------------------------------------- putting

    def _put(self, number: int, kind: str, name: str, shown: Mapping[str, Any] | None = None) -> None:
        """Put in an object as the recording first shows it."""
        self._decided.add((kind, name))
        later = self._exchanges[number:]
        maker = {"user": self._user, "token": self._token, "guest": self._guest}.get(kind)
        if maker is not None:
            maker(later, name, dict(shown or {}))
            return
        document = dict(shown or belongings.reading(later, _path(kind, name)) or {})
        if kind == "role":
            granted = split_list(document["privs"]) if "privs" in document else list(document)
            document = {"privs": sorted(granted), "special": 0}
        elif kind == "storage":
            held = ",".join(storage_state.FOLDERS)  # where nothing tells what it may hold, whatever is put there
            document = {"type": "dir", "path": f"/var/lib/{name}", "content": held} | document
            belongings.make_folder(self._world, document)
        elif kind == "pool":
            document = {"storages": []} | {key: document[key] for key in ("comment",) if key in document}
        elif kind == "group":
            document = {key: document[key] for key in ("comment",) if key in document}
        document = {key: value for key, value in document.items() if key not in ("digest", kind)}
        self._world.put(kind, name, document)

    def _user(self, later: list[Exchange], name: str, shown: Document) -> None:
        shown = shown or belongings.reading(later, f"/access/users/{name}") or {}
        kept = {key: shown[key] for key in users.DETAILS if key in shown}
        groups = shown.get("groups") or []
        groups = groups if isinstance(groups, list) else split_list(groups)
        self._world.put("user", name, {"enable": 1, "expire": 0} | kept | {"groups": groups})

    def _token(self, later: list[Exchange], name: str, shown: Document) -> None:
        user, _, token = name.partition("!")
        shown = shown or belongings.reading(later, f"/access/users/{user}/token/{token}") or {}
        kept = {key: shown[key] for key in ("privsep", "expire", "comment") if key in shown}
        self._world.put("token", name, {"privsep": 1, "expire": 0} | kept | {"secret_sha256": digest(tokens.UNSEEN)})

    def _guest(self, later: list[Exchange], name: str, shown: Document) -> None:
        config = belongings.reading(later, f"/nodes/{NODE}/qemu/{name}/config")
        state = shown or belongings.reading(later, f"/nodes/{NODE}/qemu/{name}/status/current") or {}
        for storage in belongings.storages_of(config or {}):
            if self._world.get("storage", storage) is None and ("storage", storage) not in self._decided:
                self._put(0, "storage", storage)
        belongings.put_guest(self._world, int(name), config, state)


def _path(kind: str, name: str) -> str:
    folder = {"role": "/access/roles", "storage": "/storage", "group": "/access/groups", "pool": "/pools"}[kind]
    return f"{folder}/{name}"
