"""Own what an answer of the REST API looks like: status, reason phrase, body; and the refusals that handlers raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

UNVERIFIED = "Parameter verification failed."


class Answer(msgspec.Struct, frozen=True):
    """One answer. `body` is None where nothing is sent; `upid` names the task that the request started.

    `failed` is set where the request waits for that task: what a failure of it is told with.
    """

    status: int
    reason: str
    body: dict[str, Any] | None
    upid: str | None = None
    failed: str | None = None


class Refusal(Exception):  # noqa: N818 - it is an answer, and reads as one where it is raised
    """A request is not carried out; becomes the answer's status, reason phrase and message.

    Attributes:
        errors: parameter name → complaint, for a 400.
        bodiless: nothing but the reason phrase is sent, as for every 401.
    """

    def __init__(
        self, status: int, message: str, errors: Mapping[str, str] | None = None, bodiless: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors
        self.bodiless = bodiless

    @property
    def told(self) -> str:
        """How it reads in a task's log or inside another message: with its status, unless something just died."""
        lines = [self.message if self.status == 500 else f"{self.status} {self.message}"]
        return "\n".join([*lines, *(f"{name}: {text}" for name, text in (self.errors or {}).items())])

    def answer(self) -> Answer:
        """Return the answer that the refused client sees."""
        reason = self.message.partition("\n")[0]  # one line is all that the server puts there
        if self.bodiless:
            return Answer(self.status, reason, None)
        # Messages end with a newline but for the dispatcher's own 501, and the one of a factor that there is not.
        ending = "" if self.status in (404, 501) else "\n"
        body: dict[str, Any] = {"data": None, "message": self.message + ending}
        if self.errors is not None:
            body["errors"] = dict(self.errors)
        return Answer(self.status, reason, body)


def failure(message: str) -> Refusal:
    """Return the plain refusal: whatever dies inside a handler is a 500."""
    return Refusal(500, message)


def invalid(**errors: str) -> Refusal:
    """Return a 400 that complains about parameters; an underscore in a name stands for a hyphen."""
    return Refusal(400, UNVERIFIED, {name.replace("_", "-"): text for name, text in errors.items()})


def denied(path: str = "", privileges: str = "") -> Refusal:
    """Return a 403, naming path and privilege where one check decided alone."""
    detail = f" ({path}, {privileges})" if path else ""
    return Refusal(403, f"Permission check failed{detail}")


def unauthorized(reason: str) -> Refusal:
    """Return a 401: the reason phrase is all."""
    return Refusal(401, reason, bodiless=True)


def not_implemented(method: str, path: str) -> Refusal:
    """Return what the real dispatcher answers to a path or method that it does not know."""
    return Refusal(501, f"Method '{method} {path}' not implemented")


def success(data: Any, upid: str | None = None, extra: Mapping[str, Any] | None = None) -> Answer:
    """Return the 200 that carries `data` (and, for some lists, a total beside it)."""
    beside = {name: value for name, value in (extra or {}).items() if value}  # a total of none is not told
    return Answer(200, "OK", {"data": data} | beside, upid)
