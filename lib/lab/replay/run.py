"""Own the replay itself: send what a recording has to a private lab in its shape, in order, and compare.

The private lab has the recorded version and begins as the recording began (before.py). What the
recording's own requests made up anew (a token's value, a UPID, a digest) is another here; where a
later request repeats the recorded one, ours is sent in its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.lab.pve import tokens
from lib.lab.pve.answers import Answer
from lib.lab.pve.api import Api
from lib.lab.pve.http import respond
from lib.lab.replay import before, commands
from lib.lab.replay.comparison import compare
from lib.lab.replay.gaps import Gaps
from lib.lab.replay.recording import NODE, Exchange, Result, exchanges_of, load, task_of, version_of

UNKNOWN = "nobody@pve!none"
GARBAGE = "PVE:root@pam:00000000::garbage"


def replay(path: Path) -> tuple[str, list[Result]]:
    """Replay a recording; return what it is of ("exchanges" or "commands") and a result for each, in order.

    Raises:
        ValueError: where the file is no recording.
    """
    document = load(path)
    world = before.world_of(exchanges_of(document), version_of(document, path.stem))
    try:
        if "commands" in document:
            return "commands", commands.replay(world, document["commands"])
        return "exchanges", Replay(Api(world), exchanges_of(document)).run()
    finally:
        world.close()


def _named(reason: str) -> str:
    """Return the token that a refusal names; where it names none, one that is nobody's."""
    match = re.fullmatch(r"no such token '(.+)' for user '(.+)'", reason)
    return f"{match[2]}!{match[1]}" if match else UNKNOWN


def _short(params: Mapping[str, Any]) -> str:
    text = json.dumps(params)
    return text if len(text) < 120 else text[:117] + "..."


class Replay:
    """One replay of a recording of the REST API."""

    def __init__(self, api: Api, exchanges: list[Exchange]) -> None:
        self._api = api
        self._exchanges = exchanges
        self._gaps = Gaps(exchanges)
        self._secrets: dict[str, str] = {}  # a token's value
        self._ours: dict[str, str] = {}  # what the recording made up → what is ours for it
        self._tasks: dict[tuple[str, str, str], str] = {}  # the newest UPID of type, id and identity

    def run(self) -> list[Result]:
        """Send everything and compare each answer."""
        return [self._exchange(number, exchange) for number, exchange in enumerate(self._exchanges)]

    def _exchange(self, number: int, exchange: Exchange) -> Result:
        sent = f"{exchange.identity} {exchange.method} {exchange.path} {_short(exchange.params)}"
        try:
            self._gaps.fill(self._api.world, number, exchange)
            answer = self._send(exchange)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:  # a fault of the lab
            return Result(number, sent, [f"the lab broke: {error!r}"])
        task = self._api.world.get("task", answer.upid) if answer.upid else None
        self._remember(exchange, answer)
        return Result(number, sent, list(compare(exchange, answer, task)))

    def _remember(self, exchange: Exchange, answer: Answer) -> None:
        data = (answer.body or {}).get("data")
        begun = task_of(data)
        if begun is not None:
            self._tasks[begun] = str(data)
        if isinstance(data, dict) and isinstance(exchange.data, dict):
            if "full-tokenid" in data and "value" in data:
                self._secrets[data["full-tokenid"]] = data["value"]
            for key in ("digest", "ticket"):
                if key in data and key in exchange.data:
                    self._ours[str(exchange.data[key])] = str(data[key])

    # --------------------------------------------------------------- sending

    def _send(self, exchange: Exchange) -> Answer:
        headers, cookies = self._credentials(exchange)
        params = {name: self._translated(value) for name, value in exchange.params.items()}
        path = "/".join(self._own_upid(part) for part in exchange.path.split("/"))
        return respond(self._api, NODE, exchange.method, path, headers, cookies, params)[1]

    def _translated(self, value: Any) -> str:
        if isinstance(value, bool):
            return str(int(value))
        if isinstance(value, list):
            return "\0".join(self._translated(each) for each in value)
        return self._ours.get(str(value), self._own_upid(str(value)))

    def _own_upid(self, text: str) -> str:
        task = task_of(text)
        return self._tasks.get(task, text) if task is not None else text

    def _credentials(self, exchange: Exchange) -> tuple[dict[str, str], dict[str, str]]:
        """Return headers and cookies of an identity as the recording names it."""
        name = exchange.identity
        if name == "anonymous":
            return {}, {}
        if name.endswith("-token"):  # bad-token, unknown-token, malformed-token …
            known = next(iter(self._secrets), UNKNOWN) if name.startswith("bad") else _named(exchange.reason)
            text = "PVEAPIToken=garbage" if name.startswith("malformed") else f"PVEAPIToken={known}=not-the-value"
            return {"Authorization": text}, {}
        if name.endswith("-ticket"):
            return {}, {"PVEAuthCookie": GARBAGE}
        if "!" in name:
            return {"Authorization": f"PVEAPIToken={name}={self._secrets.get(name, tokens.UNSEEN)}"}, {}
        user, _, without = name.partition(" without ")
        now = self._api.clock()
        cookies = {"PVEAuthCookie": tokens.ticket(self._api.ticket_key, user, now)}
        csrf = tokens.csrf_token(self._api.ticket_key, user, now)
        return ({} if without else {"CSRFPreventionToken": csrf}), cookies
