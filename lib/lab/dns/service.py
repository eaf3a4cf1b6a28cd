"""Own the running name service of a simulated host: what it has read, its start, stop and reload, and its answers.

What is read is kept in the world (kind `loaded`), apart from the files: a killed lab comes back
with a service that knows what it knew. dnsmasq reads its configuration at a start alone; BIND
keeps the old zone where a new one does not load.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from lib.lab.dns.answer import Answer, ConfigurationRefusedError, Rr
from lib.lab.dns.texts import Kept, Texts
from lib.lab.provenance import TOOL
from lib.lab.topology import public_address
from lib.lab.world import Document, World

if TYPE_CHECKING:
    from lib.lab.dns import bind_zone
    from lib.lab.programs.host import Host

SOURCE = TOOL
OUTSIDE_TTL = 300


class Answering(Protocol):
    """A back end that has read its files."""

    def answer(self, name: str, kind: str) -> Answer:
        """Answer one question; `name` is in lower case, without a dot at its end."""


_known: WeakKeyDictionary[World, dict[str, tuple[int, Answering]]] = WeakKeyDictionary()


def server_of(world: World, address: str) -> str | None:
    """Return the host that serves names at this address."""
    return next((name for name, one in world.all("nameserver").items() if one["address"] == address), None)


def unit_of(host: Host) -> str | None:
    """Return the systemd unit of the host's name service, where it has one."""
    found = host.world.peek("nameserver", host.node)
    return f"{found['service']}.service" if found else None


def is_running(world: World, node: str) -> bool:
    """Tell whether the service runs."""
    return world.peek("loaded", node) is not None


def answering(world: World, node: str) -> Answering | None:
    """Return what answers for the host now, or None where the service is dead."""
    loaded = world.peek("loaded", node)
    if loaded is None:
        return None
    known = _known.setdefault(world, {})
    if node not in known or known[node][0] != loaded["start"]:
        known[node] = loaded["start"], _made(world, loaded)
    return known[node][1]


def _made(world: World, loaded: Document) -> Answering:
    def outside(name: str, kind: str) -> Answer:
        address = public_address(world, name)
        if address is None:
            return Answer("NXDOMAIN")
        return Answer(records=(Rr(name, OUTSIDE_TTL, "A", address),) if kind == "A" else ())

    texts = Texts(Kept(loaded["texts"]))
    if loaded["backend"] == "dnsmasq":
        from lib.lab.dns import dnsmasq, dnsmasq_conf

        return dnsmasq.Dnsmasq(dnsmasq_conf.load(texts, loaded["main"]), texts, outside)
    from lib.lab.dns import bind, bind_conf, bind_zone

    configuration = bind_conf.load(texts, loaded["main"])
    zones: dict[str, bind_zone.Zone | None] = {}
    for name, one in loaded["zones"].items():
        zones[name] = bind_zone.load(Texts(Kept(one["texts"])), name, one["path"], one["folder"]) if one else None
    return bind.Bind(zones, outside if configuration.recursion else None)


# ------------------------------------------------------------ start and stop


def start(host: Host) -> str:
    """Start the service with the files as they are; return the complaint that it died of."""
    found = host.world.get("nameserver", host.node) or {}
    try:
        loaded = _read(host, found, None)
    except ConfigurationRefusedError as error:
        stop(host)
        return str(error)
    _keep(host, loaded)
    return ""


def stop(host: Host) -> None:
    """End the service; it forgets what it has read."""
    if host.world.delete("loaded", host.node):
        host.service_changed()


def reload(host: Host) -> str:
    """Let the service read again what it reads while it runs; return its complaint, with which the old stays."""
    before = host.world.get("loaded", host.node)
    found = host.world.get("nameserver", host.node) or {}
    if before is None:
        return "not running"
    try:
        _keep(host, _read(host, found, before))
    except ConfigurationRefusedError as error:
        return str(error)
    return ""


def _keep(host: Host, loaded: Document) -> None:
    host.world.put("loaded", host.node, loaded | {"start": time.time_ns()})
    host.service_changed()


def _read(host: Host, found: Document, before: Document | None) -> Document:
    loaded: Document = {"backend": found["backend"], "main": found["main"]}
    texts = Texts(host.files)
    if found["backend"] == "dnsmasq":
        from lib.lab.dns import dnsmasq, dnsmasq_conf

        if before is not None:  # SIGHUP: hosts files alone
            kept = Texts(Kept(before["texts"]))
            settings = dnsmasq_conf.load(kept, found["main"])
            texts.read_so_far.update(kept.read_so_far)
        else:
            settings = dnsmasq_conf.load(texts, found["main"])
        dnsmasq.Dnsmasq(settings, texts, lambda name, kind: Answer())
        return loaded | {"texts": texts.read_so_far}
    from lib.lab.dns import bind_conf

    configuration = bind_conf.load(texts, found["main"])
    old = (before or {}).get("zones", {})
    zones = {one.name: _zone(host, one, configuration.folder, old.get(one.name)) for one in configuration.zones}
    return loaded | {"texts": texts.read_so_far, "zones": zones}


def _zone(host: Host, clause: object, folder: str, before: Document | None) -> Document | None:
    """Read one zone; where it does not load, what was served before goes on to be served."""
    from lib.lab.dns import bind_conf, bind_zone

    assert isinstance(clause, bind_conf.ZoneClause)
    texts = Texts(host.files)
    try:
        bind_zone.load(texts, clause.name, clause.file, folder)
    except bind_zone.ZoneRefusedError:
        return before
    return {"path": clause.file, "folder": folder, "texts": texts.read_so_far}
