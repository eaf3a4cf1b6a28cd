"""Own the difference between two sets of records, as people read it: by name and type. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lib.config.records_model import Record, address_of
from lib.facts.answers import PROBE, spoken


class RecordChange(NamedTuple):
    """What changes at one name and type; before or after is None where there is or will be nothing."""

    name: str
    type: str
    before: str | None
    after: str | None


def record_changes(before: Iterable[Record], after: Iterable[Record]) -> Iterator[RecordChange]:
    """Yield where the two differ: first what goes, then in the order of what will be."""
    old, new = _sets(before), _sets(after)
    for key in [*(key for key in old if key not in new), *new]:
        have, want = old.get(key, {}), new.get(key, {})
        if have != want:
            ttl = have.keys() == want.keys()
            yield RecordChange(*key, _said(have, ttl), _said(want, ttl))


def _sets(records: Iterable[Record]) -> dict[tuple[str, str], dict[str, int]]:
    """Return data and TTL by name and type."""
    found: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for one in records:
        found[one.name, one.type][spoken(one.data)] = one.ttl
    return dict(found)


def _said(data: dict[str, int], ttl: bool) -> str | None:
    return ", ".join(f"{text} (TTL {data[text]})" if ttl else text for text in sorted(data)) or None


def label(name: str, kind: str, domain: str) -> str:
    """Return how a name is called in a plan: without our domain, a reverse name as its address."""
    if kind == "PTR":
        return f"PTR {address_of(name)}"
    name = name.replace(f"{PROBE}.", "*.", 1)
    return f"{kind} {name.removesuffix(f'.{domain}')}"
