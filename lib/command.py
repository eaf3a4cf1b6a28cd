"""Own `Command`: the one way to say "run this there". Runs nothing itself."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from lib.secrets import mask


@dataclass(frozen=True)
class Command:
    """A program with its arguments, to be run on some host.

    Attributes:
        argv: program and arguments, unquoted; secrets never stand here.
        reads_only: changes nothing; may be retried and may run in a dry run.
        timeout: seconds after which the remote process is ended too.
        ok_codes: exit codes that are no error.
        stdin: bytes given on standard input (the place for secrets).
    """

    argv: tuple[str, ...]
    reads_only: bool = False
    timeout: float = 60.0
    ok_codes: frozenset[int] = frozenset({0})
    stdin: bytes = field(default=b"", repr=False)

    def line(self, prefix: tuple[str, ...] = ()) -> str:
        """Return the argument list quoted for a POSIX shell, with a limit that ends the remote process.

        `prefix` stands before the limit: what `sudo` runs, only root may end.
        """
        limited = (*prefix, "timeout", "-k", "5", str(max(1, round(self.timeout))), *self.argv)
        return shlex.join(limited)

    def __str__(self) -> str:
        return mask(shlex.join(self.argv))


@dataclass(frozen=True)
class Result:
    """What a command printed and how it ended: text as UTF-8, exit code as the shell gives it."""

    exit: int
    stdout: str
    stderr: str


def read(*argv: str, timeout: float = 60.0, ok: frozenset[int] = frozenset({0})) -> Command:
    """Make a command that only reads."""
    return Command(argv, reads_only=True, timeout=timeout, ok_codes=ok)


def write(*argv: str, timeout: float = 60.0, ok: frozenset[int] = frozenset({0})) -> Command:
    """Make a command that changes something."""
    return Command(argv, timeout=timeout, ok_codes=ok)
