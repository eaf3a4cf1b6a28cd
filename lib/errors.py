"""Own every exception that Groundwork raises on purpose, and how one reads.

An error says what it is about, what is wrong, and what to type next:
`subject: problem (got X, want Y) [cluster.toml:14]`, then `Fix: …`.
What is not in this tree is a bug in Groundwork.
"""

from __future__ import annotations

import msgspec

OK = 0
FAILED = 1
BAD_CONFIGURATION = 2
PENDING = 3
REFUSED = 4
LOCKED = 5
INTERRUPTED = 130

AGAIN = "run the same command again: it goes on from where this one stopped"


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong: what about, what, what to do, and where it was written.

    `refused`: it is nothing that failed, but that a guard forbids, whatever is allowed.
    """

    subject: str
    problem: str
    fix: str = ""
    where: str = ""
    refused: bool = False

    def __str__(self) -> str:
        place = f" [{self.where}]" if self.where else ""
        fix = f"\n  Fix: {self.fix}" if self.fix else ""
        return f"{self.subject}: {self.problem}{place}{fix}"


INTERRUPTION = Problem("run", "interrupted", "run the same command again: the next run finishes what this one began")


class GroundworkError(Exception):
    """Anything that went wrong and can be told to the user in one paragraph."""

    exit_code = FAILED

    def __init__(self, subject: str, problem: str, fix: str = "", where: str = "") -> None:
        self.report = Problem(subject, problem, fix, where)
        super().__init__(str(self.report))


class ConfigurationError(GroundworkError):
    """The input files are wrong; carries every problem found, not the first alone."""

    exit_code = BAD_CONFIGURATION

    def __init__(self, problems: list[Problem]) -> None:
        first = problems[0]
        super().__init__(first.subject, first.problem, first.fix, first.where)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class UsageError(GroundworkError):
    """A flag or argument has a value that cannot be used."""

    exit_code = BAD_CONFIGURATION


class RefusedError(GroundworkError):
    """A guard refused the plan; the fix names the one override, if there is one."""

    exit_code = REFUSED


class LockedError(GroundworkError):
    """Another run holds the lock."""

    exit_code = LOCKED


class StepError(GroundworkError):
    """A step could not observe, apply or verify."""


class RemoteError(GroundworkError):
    """A remote system refused, broke off or did not answer; where no better fix is known, the next run is one."""

    def __init__(self, subject: str, problem: str, fix: str = "", where: str = "") -> None:
        super().__init__(subject, problem, fix or AGAIN, where)


class LostAnswerError(RemoteError):
    """A change was sent and no answer came: whether it took effect has to be looked at."""


class UnreachableError(RemoteError):
    """No connection: name, route, port, host key or TLS."""


class CommandError(RemoteError):
    """A remote command ended with an exit code that is not accepted.

    Attributes:
        exit: the exit code, or None where the connection broke first.
        stderr: the last lines of standard error, secrets masked.
    """

    def __init__(self, subject: str, problem: str, exit: int | None, stderr: str = "", fix: str = "") -> None:
        super().__init__(subject, problem, fix)
        self.exit = exit
        self.stderr = stderr


class ApiError(RemoteError):
    """The Proxmox API answered with an error.

    Attributes:
        status: HTTP status.
        message: the reason phrase or message of the answer.
        fields: parameter name → complaint, for a 400.
    """

    def __init__(
        self, subject: str, problem: str, status: int, message: str, fields: dict[str, str] | None = None, fix: str = ""
    ) -> None:
        super().__init__(subject, problem, fix)
        self.status = status
        self.message = message
        self.fields = fields or {}


class TaskFailedError(RemoteError):
    """A Proxmox task ended with another exit status than OK.

    Attributes:
        exitstatus: what the task said.
    """

    def __init__(self, subject: str, problem: str, exitstatus: str, fix: str = "") -> None:
        super().__init__(subject, problem, fix)
        self.exitstatus = exitstatus


class WaitTimeoutError(RemoteError):
    """Something that was waited for did not come in time."""
