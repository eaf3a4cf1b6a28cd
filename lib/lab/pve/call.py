"""Own what a handler is given (one `Call`) and how a path is declared (a `Route`): parameters, rights, handler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.lab.files import Files
from lib.lab.provenance import Provenance
from lib.lab.pve import tasks
from lib.lab.pve.answers import Refusal, denied, failure
from lib.lab.pve.rights import ROOT, Rights
from lib.lab.world import World


@dataclass
class Call:
    """One request, as its handler sees it. `params` are checked and typed; `node` is where it is carried out."""

    world: World
    now: float
    identity: str
    node: str
    rights: Rights
    params: dict[str, Any]
    ticket_key: bytes = b""
    started: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an optional parameter."""
        return self.params.get(name, default)

    @property
    def is_root(self) -> bool:
        """Tell whether root@pam himself asks (not one of his tokens)."""
        return self.identity == ROOT

    @property
    def files(self) -> Files:
        """The files of the node where the request is carried out."""
        return Files(self.world, self.node)

    def may(self, path: str, *privileges: str, any_of: bool = False) -> bool:
        """Tell whether the caller holds all (or any) of the privileges on the path."""
        return self.rights.may(self.identity, path, privileges, any_of)

    def need(self, path: str, *privileges: str, any_of: bool = False) -> None:
        """Refuse with 403 unless the caller holds the privileges. The message names them as the real one does."""
        if not self.may(path, *privileges, any_of=any_of):
            raise denied(path, "|".join(privileges) if any_of else ", ".join(privileges))

    def need_guest(self, vmid: int, pool: str | None, *privileges: str, any_of: bool = False) -> None:
        """Refuse unless the caller holds the privileges on the guest, or on the pool that it will be in."""
        if pool and self.may(f"/pool/{pool}", *privileges, any_of=any_of):
            return
        self.need(f"/vms/{vmid}", *privileges, any_of=any_of)

    def guest(self, vmid: int | None = None) -> dict[str, Any]:
        """Return the guest of the path, which must be on this node."""
        wanted = int(self.params["vmid"] if vmid is None else vmid)
        found = self.world.get("guest", str(wanted))
        if found is None or found["node"] != self.node:
            raise failure(f"Configuration file 'nodes/{self.node}/qemu-server/{wanted}.conf' does not exist")
        return found

    def start(self, kind: str, id: object, seconds: float, **args: Any) -> str:
        """Start a task on this node; `provisional` and `log` are for the task itself, the rest for its effect."""
        provisional, log = args.pop("provisional", None), args.pop("log", None)
        self.started = tasks.start(
            self.world, self.now, self.node, kind, str(id), self.identity, seconds, args, provisional, log
        )
        return self.started


Check = Callable[[Call], None]
Handler = Callable[[Call], Any]


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    handler: Handler
    check: Check
    declaration: str = ""
    tokens_allowed: bool = True
    by: Provenance | None = None  # a test asks for it


def everyone(call: Call) -> None:
    """Let every authenticated identity pass; the handler looks closer."""


def perm(path: str, *privileges: str, any_of: bool = False) -> Check:
    """Require privileges on a path with the request's parameters in it."""

    def check(call: Call) -> None:
        call.need(filled(path, call.params), *privileges, any_of=any_of)

    return check


def either(*checks: Check) -> Check:
    """Require one of the checks to pass; the refusal then names none."""

    def check(call: Call) -> None:
        if not any(passes(each, call) for each in checks):
            raise denied()

    return check


def both(*checks: Check) -> Check:
    """Require every check to pass."""

    def check(call: Call) -> None:
        for each in checks:
            each(call)

    return check


def passes(check: Check, call: Call) -> bool:
    """Tell whether a check would let the call pass."""
    try:
        check(call)
    except Refusal:
        return False
    return True


def filled(path: str, params: Mapping[str, Any]) -> str:
    """Put the parameters into a path; a missing one leaves its part empty."""
    parts = [str(params.get(part[1:-1], "")) if part.startswith("{") else part for part in path.split("/")]
    return "/".join(parts)
