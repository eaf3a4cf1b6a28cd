"""Own a client of the API that asks a simulated cluster in this process: the product's own, but for the wire."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

from proxmoxer.core import ResourceException

from lib.clients.pve import Pve
from lib.clients.pve_session import Api, Credential, Tls
from lib.clients.ssh import Host, Hosts
from lib.errors import GroundworkError
from lib.lab.pve.http import respond
from lib.steps.session import Session
from tests.lab.simulated import Simulated

T = TypeVar("T")


def _quiet(what: str, waited: float, last: str) -> None:
    pass


class DirectPve(Pve):
    """The API of a simulated cluster, as an identity that proves itself by a token."""

    def __init__(self, lab: Simulated, credential: Credential) -> None:
        super().__init__(Api([("node1", 8006)], Tls()), credential, _quiet)
        self._lab = lab

    def connect(self) -> None:
        pass

    def _request(self, method: str, path: str, params: dict[str, object]) -> Any:
        sent = {name: str(value) for name, value in params.items() if value is not None}
        token = f"PVEAPIToken={self.identity}={self._credential.secret.reveal()}"
        _, answer = respond(self._lab.api, "node1", method, path, {"Authorization": token}, {}, sent)
        if answer.status == 200:
            return answer.body["data"] if answer.body else None
        errors = (answer.body or {}).get("errors")
        raise self._api_error(method, path, ResourceException(answer.status, answer.reason, answer.reason, errors))


class InTurn(ThreadPoolExecutor):
    """Does one piece of work after the other: a world in memory belongs to the thread that made it."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except GroundworkError as error:
            done.set_exception(error)
        return done


def session(lab: Simulated, credential: Credential, base: Path) -> Session:
    """Return what steps are given, without hosts."""
    nobody = ("127.0.0.1", 0)
    return Session(
        DirectPve(lab, credential),
        cast(Hosts, None),
        lambda each: DirectPve(lab, each),
        _quiet,
        base,
        cast(Host, None),
        nobody,
    )
