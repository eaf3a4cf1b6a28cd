"""Own how a path that is only read is written down: one row, with what a fresh host answers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from lib.lab.provenance import Provenance, belief
from lib.lab.pve.call import Call, Route, Rule, everyone, perm

AUDIT = perm("/", "Sys.Audit")
MACHINE = belief("what only a machine can tell: services, packages, certificates, figures over time")
FRESH_DIGEST = "da39a3ee5e6b4b0d3255bfef95601890afd80709"  # SHA-1 of a file that is not there yet


def reading(
    path: str,
    answer: Any,
    by: Provenance,
    check: Rule = everyone,
    declaration: str = "",
    only: int = 0,
) -> Route:
    """Return the route of a GET that answers with a fixed value, or what a function of the call returns."""

    def handler(call: Call) -> Any:
        return answer(call) if callable(answer) else copy.deepcopy(answer)

    return Route("GET", path, handler, check, declaration, by=by, only=only)


def names(key: str, *values: str) -> list[dict[str, str]]:
    """Return an index: the names below a path."""
    return [{key: value} for value in values]


def guest_reading(answer: Any) -> Callable[[Call], Any]:
    """Return an answer that needs the guest of the path to be there."""

    def handler(call: Call) -> Any:
        call.guest()
        return copy.deepcopy(answer)

    return handler
