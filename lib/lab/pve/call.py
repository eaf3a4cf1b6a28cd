"""Own what a handler is given (one `Call`) and how a path is declared (a `Route`): parameters, rule, handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from lib.lab.files import Files
from lib.lab.provenance import Provenance
from lib.lab.pve import guest_state, tasks
from lib.lab.pve.answers import UNVERIFIED, Refusal, failure
from lib.lab.pve.rights import Caller
from lib.lab.world import World


class Call(Caller):
    """One request, as its handler sees it. `params` are checked and typed; `node` is where it is carried out.

    A handler that sets `failed` waits for its task, if that ends at once: then the answer is its outcome.
    """

    world: World
    now: float
    node: str
    params: dict[str, Any]
    ticket_key: bytes = b""
    started: str | None = None
    extra: dict[str, Any] = msgspec.field(default_factory=dict)
    failed: str | None = None

    def __getitem__(self, name: str) -> Any:
        return self.params[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an optional parameter."""
        return self.params.get(name, default)

    @property
    def files(self) -> Files:
        """The files of the node where the request is carried out."""
        return Files(self.world, self.node)

    def root_only(self, *names: str) -> None:
        """Refuse parameters that root@pam alone may use."""
        for name in names:
            if self.params.get(name) and not self.is_root:
                raise Refusal(400, UNVERIFIED, {name: "Only root may use this option."})

    def guest(self) -> dict[str, Any]:
        """Return the guest of the path, which must be on this node."""
        return guest_state.present(self.world, self.node, self.params["vmid"])

    def need_there(self, vmid: int) -> dict[str, Any]:
        """Return a guest that must be on this node, in the words of what looks first whether it runs."""
        found = self.world.get("guest", str(vmid))
        if found is None or found["node"] != self.node:
            raise failure(f"unable to find configuration file for VM {vmid} on node '{self.node}'")
        return found

    def start(self, kind: str, id: object, seconds: float, **args: Any) -> str:
        """Start a task on this node; `provisional` and `log` are for the task itself, the rest for its effect."""
        provisional, log = args.pop("provisional", None), args.pop("log", None)
        self.started = tasks.start(
            self.world, self.now, self.node, kind, str(id), self.identity, seconds, args, provisional, log
        )
        return self.started


# Who may ask, in the form of Proxmox VE's own description; checks.py says what it means.
Rule = tuple[Any, ...]
Handler = Callable[[Call], Any]


class Route(msgspec.Struct, frozen=True):
    """One method of one path."""

    method: str
    path: str
    handler: Handler
    check: Rule
    declaration: str = ""
    tokens_allowed: bool = True
    by: Provenance | None = None  # a test asks for it
    check_before_9: Rule | None = None
    only: int = 0  # the one major version that has it

    def is_in(self, version: int) -> bool:
        """Tell whether a major version has this."""
        return self.only in (0, version)


everyone: Rule = ("user", "all")  # every authenticated identity; the handler looks closer
anybody: Rule = ("user", "world")
root_alone: Rule = ("user", "root@pam")  # what the schema gives no permissions for


def perm(path: str, *privileges: str, any_of: bool = False, only_with: str = "") -> Rule:
    """Require privileges on a path with the request's parameters in it; `only_with` a parameter that must be given."""
    options = (("any", 1) if any_of else ()) + (("require_param", only_with) if only_with else ())
    return ("perm", path, [*privileges], *options)


def on_guest(*privileges: str, any_of: bool = False) -> Rule:
    """Require privileges on the guest of the path."""
    return perm("/vms/{vmid}", *privileges, any_of=any_of)


def either(*rules: Rule) -> Rule:
    """Require one of the rules to pass."""
    return ("or", *rules)


def both(*rules: Rule) -> Rule:
    """Require every rule to pass."""
    return ("and", *rules)


# What many routes have in common: the path of a guest and its parameters; who sees a storage.
AT_GUEST = "/nodes/{node}/qemu/{vmid}"
OF_GUEST = "node:node vmid:vmid"
SEES_STORAGE = perm("/storage/{storage}", "Datastore.Audit", "Datastore.AllocateSpace", any_of=True)
