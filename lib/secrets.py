"""Own secret values: they are held, handed to a client, and never shown.

Masking works on text that leaves the process (log lines, error messages,
command lines): every secret that was ever made a `Secret` is replaced there,
also in its shell-quoted, URL-quoted, JSON and repr forms.
"""

from __future__ import annotations

import json
import shlex
import urllib.parse

MASK = "***"
_known: set[str] = set()


class Secret:
    """A value that must not be shown; `reveal()` is the only way to its text."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        if len(value) >= 4:
            _known.update(_forms(value))

    def reveal(self) -> str:
        """Return the text, for the client that needs it and nobody else."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is not pickled")


def _forms(value: str) -> set[str]:
    return {
        value,
        shlex.quote(value),
        urllib.parse.quote(value, safe=""),
        urllib.parse.quote_plus(value),
        json.dumps(value)[1:-1],
        repr(value)[1:-1],
    }


def mask(text: str) -> str:
    """Return the text with every known secret, in any of its quoted forms, replaced by `***`."""
    for form in sorted(_known, key=len, reverse=True):
        if form in text:
            text = text.replace(form, MASK)
    return text
