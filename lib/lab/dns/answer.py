"""Own what a simulated name server says to one question, as text: no wire format, no back end."""

from __future__ import annotations

import msgspec


class Rr(msgspec.Struct, frozen=True):
    """One resource record; `name` has no dot at its end, `data` is as in a zone file, its names whole."""

    name: str
    ttl: int
    type: str
    data: str


class Answer(msgspec.Struct, frozen=True):
    """What is said: the code, and the records of each section; `truncated` says nothing but that it is too long."""

    rcode: str = "NOERROR"
    records: tuple[Rr, ...] = ()
    authority: tuple[Rr, ...] = ()
    additional: tuple[Rr, ...] = ()
    authoritative: bool = False
    truncated: bool = False


class ConfigurationRefusedError(Exception):
    """A daemon does not take its configuration: what it prints, and the code it ends with."""

    def __init__(self, text: str, exit: int = 1) -> None:
        super().__init__(text)
        self.exit = exit
