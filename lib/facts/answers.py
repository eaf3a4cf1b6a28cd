"""Own what is to be answered, what was, and where the two differ. Pure; asks nobody."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, Protocol

import msgspec

from lib.config.records_derived import encoded
from lib.config.records_model import Record, is_wildcard, pointer
from lib.facts.zones import data_of

PROBE = "groundwork-probe"  # asked below a wildcard
FITS = 1232  # bytes: what is longer may be truncated over UDP
Key = tuple[str, str]  # name, type
Data = frozenset[tuple[str | int, ...]]


class Reply(Protocol):
    """What the client gives for one question."""

    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def truncated(self) -> bool: ...  # noqa: D102
    @property
    def ttl(self) -> int: ...  # noqa: D102
    @property
    def data(self) -> tuple[Any, ...]: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102


class Answer(msgspec.Struct, frozen=True):
    """What a name and type are answered with: how it was answered where it is not NOERROR, seconds, and data."""

    data: Data
    ttl: int = 0
    status: str = "NOERROR"

    def __str__(self) -> str:
        if self.status != "NOERROR":
            return self.status
        return ", ".join(sorted(map(spoken, self.data))) or "nothing of this type"


class Difference(msgspec.Struct, frozen=True):
    """What was not answered as wanted, and by which way."""

    key: Key
    ways: str
    got: Answer
    want: Answer

    def sides(self) -> tuple[str, str]:
        """Return what was got and what was wanted, with TTL where that is all that differs."""
        got, want = str(self.got), str(self.want)
        if got == want:
            got, want = f"{got} (TTL {self.got.ttl})", f"{want} (TTL {self.want.ttl})"
        return got if " and " in self.ways else f"{got} over {self.ways}", want

    def __str__(self) -> str:
        name, kind = self.key
        got, want = self.sides()
        return f"{kind} {name}: got {got}, want {want}"


def spoken(data: tuple[str | int, ...]) -> str:
    """Return a record's data as people write it."""
    return " ".join(map(str, data))


def wanted(records: Iterable[Record]) -> dict[Key, Answer]:
    """Return what has to be answered. A TTL of 0 is the server's own affair; a wildcard is asked by a name below."""
    data: defaultdict[Key, set[tuple[str | int, ...]]] = defaultdict(set)
    ttls: dict[Key, int] = {}
    for one in records:
        name = f"{PROBE}{one.name[1:]}" if is_wildcard(one.name) else one.name
        data[name, one.type].add(one.data)
        ttls[name, one.type] = one.ttl
    return {key: Answer(frozenset(found), ttls[key]) for key, found in data.items()}


def named(text: str, domain: str, want: Mapping[Key, Answer]) -> dict[Key, Answer]:
    """Return what is wanted of one name: whole, or below the domain, or an address; below a wildcard what that says."""
    names = {domain} if text == "@" else set()
    with contextlib.suppress(ValueError):
        plain = encoded(text.rstrip("."))
        names |= {plain, f"{plain}.{domain}"}
    with contextlib.suppress(ValueError):
        names |= {pointer(ip_address(text))}
    found = {key: answer for key, answer in want.items() if key[0] in names}
    stars = [(key, answer) for key, answer in want.items() if key[0].startswith(f"{PROBE}.")] if not found else []
    for (star, kind), answer in stars:
        below = (name for name in names if name.endswith(star.removeprefix(PROBE)))
        found |= {(name.replace("*", PROBE, 1), kind): answer for name in below}
    return found


def answers(replies: Mapping[Any, Reply]) -> dict[Key, Answer]:
    """Return the client's replies by name and type; one that was cut off is told as "truncated"."""
    return {(name, kind): _answer(kind, reply) for (name, kind), reply in replies.items()}


def _answer(kind: str, reply: Reply) -> Answer:
    status = "truncated" if reply.truncated else reply.status
    return Answer(frozenset(data_of(kind, one) for one in reply.data), reply.ttl, status)


def long(replies: Mapping[Any, Reply]) -> frozenset[Key]:
    """Return what has answers that no UDP message has room for."""
    return frozenset((name, kind) for (name, kind), reply in replies.items() if reply.size > FITS)


def is_right(got: Answer, want: Answer) -> bool:
    """Tell whether that is the answer."""
    return got.status == "NOERROR" and got.data == want.data and want.ttl in (0, got.ttl)


def differences(
    want: Mapping[Key, Answer], udp: Mapping[Key, Answer], tcp: Mapping[Key, Answer], long: frozenset[Key]
) -> Iterator[Difference]:
    """Yield what was not answered rightly; over UDP what is `long` may be truncated."""
    for key, answer in want.items():
        by_udp, by_tcp = udp[key], tcp[key]
        wrong = [] if is_right(by_udp, answer) or (by_udp.status == "truncated" and key in long) else ["UDP"]
        wrong += [] if is_right(by_tcp, answer) else ["TCP"]
        if wrong:
            yield Difference(key, " and ".join(wrong), by_udp if wrong[0] == "UDP" else by_tcp, answer)


def listed(found: Sequence[object], most: int = 20) -> str:
    """Return them one a line, the first ones where they are many."""
    more = [f"and {len(found) - most} more"] if len(found) > most else []
    return "\n".join([*map(str, found[:most]), *more])
