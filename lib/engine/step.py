"""Own what a step is: observed world, desired world, their difference, and how to close it.

Does not run anything; `runner` does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec

from lib.errors import Problem

C = TypeVar("C")  # clients
S = TypeVar("S")  # what is seen
D = TypeVar("D")  # what is desired
R = TypeVar("R")  # what later steps get
R_co = TypeVar("R_co", covariant=True)


class Unknown:
    """The output of a step that has not been applied yet."""

    def __repr__(self) -> str:
        return "(known after apply)"


UNKNOWN: Final = Unknown()


class Change(msgspec.Struct, frozen=True):
    """One attribute that differs; before or after is None where there is or will be nothing.

    `refresh` marks what is renewed at every run and is therefore no drift.
    """

    attribute: str
    before: str | None
    after: str | None
    refresh: bool = False


class Danger(msgspec.Struct, frozen=True):
    """A part of a plan that is refused unless the user allows it by `override`; without one, always: with a `fix`."""

    override: str
    what: str
    fix: str = ""


class Inputs:
    """Outputs of the steps that came before, by step class."""

    def __init__(self, outputs: Mapping[str, object]) -> None:
        self._outputs = outputs

    def of(self, step: type[Step[Any, Any, Any, R]]) -> R | Unknown:
        """Return the typed output of that step, or Unknown before it is applied."""
        return self._outputs.get(step.name, UNKNOWN)  # type: ignore[return-value]


class Step(ABC, Generic[C, S, D, R]):
    """One resource: what it is, what it should be, and how to get there.

    `max_age` (seconds) is declared by a step with a slow check: while evidence of the
    same configuration is younger, `observe` is told so by `recent` and may leave the
    slow part out. `checks_only` steps have nothing to apply; a rerun looks again. Where a step `promises`,
    its output follows from the wish alone, and what comes after it is planned before it is applied.
    `overrides` names the dangers that a user may allow; `on_rerun` is what a plan says of a rerun.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    max_age: ClassVar[float | None] = None
    checks_only: ClassVar[bool] = False
    promises: ClassVar[bool] = False
    overrides: ClassVar[tuple[str, ...]] = ()
    on_rerun: str = "asked for"

    @abstractmethod
    def observe(self, at: C, recent: bool) -> S:
        """Look at the world; change nothing."""

    @abstractmethod
    def desired(self, inputs: Inputs) -> D | Unknown:
        """Say what should be; Unknown where an input is not known yet."""

    @abstractmethod
    def changes(self, seen: S, wanted: D) -> Iterable[Change]:
        """Yield what differs."""

    @abstractmethod
    def apply(self, at: C, seen: S, wanted: D) -> R | None:
        """Close the difference; also right where nothing differs. May return the output."""

    @abstractmethod
    def output(self, seen: S, wanted: D) -> R:
        """Give what later steps need, from a world that is as desired."""

    @abstractmethod
    def reason(self, seen: S, wanted: D) -> str:
        """Say in a few words why nothing had to be done."""

    def problems(self, seen: S, wanted: D) -> Iterable[Problem]:
        """Yield what no apply of ours can mend."""
        return ()

    def dangers(self, seen: S, wanted: D) -> Iterable[Danger]:
        """Yield what must not happen unless the user allows it."""
        return ()

    def remarks(self, seen: S) -> Iterable[str]:
        """Yield what the user should know and nothing is done about."""
        return ()
