"""Own the dispatch of the REST API: from (identity, method, path, parameters) to an answer.

Who is asking is settled before (authentication.py); what a path does is in the modules
by area. A new path is one handler and one `Route` there.
"""

from __future__ import annotations

import functools
import re
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from lib.lab.faults import Faults
from lib.lab.pve import (
    access,
    agent,
    backup,
    backup_jobs,
    ceph_readings,
    cluster,
    cluster_readings,
    disk_moves,
    factors,
    guests,
    machine_readings,
    migration,
    node_readings,
    nodes,
    params,
    pools,
    power,
    prunes,
    realms,
    snapshots,
    storages,
    tasks,
    tokens,
    users,
    volume_fetches,
    volumes,
)
from lib.lab.pve.answers import UNVERIFIED, Answer, Refusal, failure, not_implemented, success
from lib.lab.pve.call import Call, Route, Rule, anybody
from lib.lab.pve.checks import enforce
from lib.lab.pve.params import NEWEST
from lib.lab.pve.rights import ROOT, Rights, major
from lib.lab.world import World

AREAS = (
    access,
    users,
    realms,
    factors,
    tokens,
    pools,
    nodes,
    cluster,
    storages,
    volumes,
    volume_fetches,
    guests,
    disk_moves,
    power,
    agent,
    migration,
    snapshots,
    backup,
    backup_jobs,
    prunes,
    cluster_readings,
    node_readings,
    machine_readings,
    ceph_readings,
)
ROUTES: tuple[Route, ...] = tuple(route for area in AREAS for route in area.ROUTES)
WORKS: dict[str, tasks.Work] = {name: work for area in AREAS for name, work in getattr(area, "WORKS", {}).items()}

# What whoever is asked answers himself, whatever node the path names; all else is handed on to that node.
HERE = frozenset(
    f"/nodes/{{node}}{rest}"
    for rest in (
        *("", "/apt", "/capabilities/qemu/cpu", "/ceph", "/certificates", "/firewall", "/hardware"),
        *("/qemu/{vmid}/firewall", "/qemu/{vmid}/firewall/rules", "/qemu/{vmid}/rrddata"),
        *("/qemu/{vmid}/snapshot/{snapname}", "/rrddata", "/scan", "/services/{service}", "/storage/{storage}"),
        "/tasks/{upid}",
    )
)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


# Literal parts win over placeholders, whatever the order of declaration.
_TABLE = sorted(((_parts(route.path), route) for route in ROUTES), key=lambda entry: entry[1].path.count("{"))


@functools.lru_cache(256)  # it is asked for several times in one request
def find(method: str, path: str, version: int = NEWEST) -> tuple[Route, Mapping[str, str]] | None:
    """Return the route of a request and the parameters that are in its path."""
    given = _parts(path)
    for parts, route in _TABLE:
        if route.method == method and route.is_in(version) and (in_path := _matched(parts, given)) is not None:
            return route, in_path
    return None


def _matched(parts: list[str], given: list[str]) -> dict[str, str] | None:
    """Return the parameters in a path, None where it is another path; they have no blanks (PVE::RESTHandler)."""
    if parts[-1:] == ["{volume}"] and len(given) > len(parts):  # it has slashes of its own
        given = [*given[: len(parts) - 1], "/".join(given[len(parts) - 1 :])]
    if len(parts) != len(given):
        return None
    in_path = {}
    for part, value in zip(parts, given, strict=True):
        name = part.strip("{}")
        if part == name and part != value:
            return None
        if part != name:
            if name != "volume" and re.search(r"\s", value):
                return None
            in_path[name] = value
    return in_path


class Api:
    """The REST API of one simulated cluster."""

    def __init__(self, world: World, clock: Callable[[], float] = time.time) -> None:
        self.world = world
        self.clock = clock
        self.faults = Faults(world)
        self.ticket_key = self._key()

    def _key(self) -> bytes:
        """Return the key that signs tickets; it lives in the world, so that a ticket outlives a restart."""
        found = self.world.get("meta", "authkey")
        if found is None:
            found = {"key": secrets.token_hex(32)}
            self.world.put("meta", "authkey", found)
        return bytes.fromhex(found["key"])

    def now(self, node: str) -> float:
        """Return the time by a node's own clock."""
        return self.clock() + float((self.world.peek("node", node) or {}).get("clock_offset", 0.0))

    def call(self, identity: str, method: str, path: str, params: Mapping[str, Any], node: str) -> Answer:
        """Carry out one request that arrived at `node`, as an identity that has been authenticated."""
        self.settle()
        try:
            with self.world.transaction():
                answer = self._carry_out(identity, method, path, params, node)
        except Refusal as refusal:
            answer = refusal.answer()
        if answer.upid:
            self.settle()
        return self._awaited(answer)

    def _awaited(self, answer: Answer) -> Answer:
        """Answer with the outcome of the task where the request waits for it, and it has ended."""
        task = self.world.get("task", answer.upid) if answer.upid and answer.failed is not None else None
        if task is None or task["exitstatus"] is None:
            return answer
        well = task["exitstatus"] == "OK"
        return success(None, answer.upid) if well else failure(f"{answer.failed}{task['exitstatus']}").answer()

    def settle(self) -> float | None:
        """End the tasks that are due; return when the next one will be."""
        return tasks.settle(self.world, self.clock(), WORKS, self.faults)

    def _carry_out(self, identity: str, method: str, path: str, given: Mapping[str, Any], node: str) -> Answer:
        version = major(self.world)
        found = find(method, path, version)
        if found is None:
            raise not_implemented(method, path)
        route, in_path = found
        if twice := sorted(name for name in in_path if str(given.get(name, in_path[name])) != in_path[name]):
            told = "duplicate parameter (already defined in URI) with conflicting values!"
            raise Refusal(400, UNVERIFIED, {twice[0]: told})
        merged = {**given, **in_path}
        call = Call(identity, Rights(self.world), self.world, self.clock(), node, merged, self.ticket_key)
        if identity != ROOT:
            if "!" in identity and not route.tokens_allowed:
                raise needs_ticket(path)
            enforce(rule_of(route, major(self.world)), call)
        if "node" in in_path and not (method == "GET" and route.path in HERE):
            call.node = self._reachable(in_path["node"], node)
        call.params = params.check(route.declaration, merged, version)
        data = route.handler(call)
        if isinstance(data, Answer):
            return data
        return replace(success(data, call.started, call.extra), failed=call.failed)

    def _reachable(self, wanted: str, here: str) -> str:
        if wanted == "localhost":
            return here
        if self.world.get("node", wanted) is None:
            raise failure(
                f"hostname lookup '{wanted}' failed - failed to get address info for: {wanted}:"
                " Name or service not known"
            )
        if wanted != here and not cluster.is_reached(self.world, wanted):
            raise Refusal(595, "No route to host")
        return wanted


def rule_of(route: Route, version: int) -> Rule:
    """Return who may ask for a path, by the rules of a major version."""
    return route.check_before_9 if route.check_before_9 and version < 9 else route.check


def needs_ticket(path: str) -> Refusal:
    """Return the refusal of what no token may ask for; a line ends within its brackets."""
    told = f"URI '{path}' not available with API token, need proper ticket.\n"
    return Refusal(403, f"Permission check failed ({told})")


def anonymous_allowed(method: str, path: str) -> bool:
    """Tell whether a request needs no identity: logging in, and asking for the realms."""
    found = find(method, path)
    return found is not None and found[0].check == anybody
