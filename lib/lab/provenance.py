"""Own the words for what an answer of the lab rests on: a recording, the official schema, a real tool, or a belief.

Every `Route` and every simulated program declares one, where it is registered. What
is declared holds for the path or the program as a whole; lib/lab/tally.py counts it.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Kind = Literal["recording", "official schema", "real tool", "belief"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Provenance(msgspec.Struct, frozen=True):
    """What an answer rests on; a belief says in a few words what is believed."""

    kind: Kind
    believed: str = ""


RECORDED = Provenance("recording")  # a real Proxmox VE gave this answer, and the contract tests replay it
SCHEMA = Provenance("official schema")  # parameters and the answer's shape are Proxmox VE's own description
TOOL = Provenance("real tool")  # a test runs the real program and ours, and compares


def belief(words: str) -> Provenance:
    """Return the provenance of an answer that nothing real stands behind."""
    return Provenance("belief", words)


INDEX = belief("which names an index lists that the schema leaves open")


def undeclared(what: str) -> Provenance:
    """Return the provenance of what declares none; the tests know of no such thing."""
    return belief(f"{what} (undeclared)")
