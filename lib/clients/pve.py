"""Own what is asked of the Proxmox REST API as one identity: requests, retries, tasks.

How it is reached is in `pve_session`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any
from urllib.parse import quote

import requests
from proxmoxer import ProxmoxAPI
from proxmoxer.core import ResourceException

from lib.clients.pve_session import Api, Credential, tls_problem
from lib.clients.waiting import TRIES, OnWait, backoff, pause, wait_for
from lib.errors import AGAIN, ApiError, LostAnswerError, RemoteError, TaskFailedError, UnreachableError
from lib.secrets import mask

Json = Any
_IDEMPOTENT = ("GET", "PUT")
_NOT_HANDED_ON = range(595, 600)  # pveproxy asked another node, or its own daemon
_FINAL = ("does not exist", "no such", "already exists", "not defined", "already defined", "permission", "not allowed")


class Pve:
    """The Proxmox cluster's API as one identity; safe to use from several threads."""

    def __init__(
        self, api: Api, credential: Credential, on_wait: OnWait, renew: Callable[[], Credential] | None = None
    ) -> None:
        """Prepare; nothing is sent before the first request. `renew` makes another credential for a refused one."""
        self._reached = api
        self._credential = credential
        self._on_wait = on_wait
        self._renew = renew
        self._api: ProxmoxAPI | None = None
        self._lock = threading.Lock()
        self._memo: dict[str, Future[Json]] = {}

    @property
    def identity(self) -> str:
        """Who we are there."""
        return self._credential.identity

    @property
    def url(self) -> str:
        """The API on the host that answers, as Packer wants it."""
        return f"{self._reached.where}/api2/json"

    def now(self) -> float:
        """Return the time by the cluster's clock, in seconds since the epoch: operators' own may differ."""
        self.connect()
        return time.time() + self._reached.ahead

    # ------------------------------------------------------------ requests

    def get(self, path: str, /, **params: object) -> Json:
        """Read. Raises ApiError or UnreachableError."""
        return self._retried("GET", path, params)

    def once(self, path: str, /, **params: object) -> Json:
        """Read, or give what was read since the last write: many steps look at the same collection."""
        key = f"{path} {params}"
        with self._lock:
            found = self._memo.get(key)
            mine = found is None
            if found is None:
                found = self._memo[key] = Future()
        if mine:
            try:
                found.set_result(self._retried("GET", path, params))
            except BaseException as error:  # noqa: BLE001  (whatever it is: others wait for this answer)
                with self._lock:
                    self._memo.pop(key, None)
                found.set_exception(error)
        return found.result()

    def forget(self) -> None:
        """Let `once` read anew: others may have changed what it read."""
        with self._lock:
            self._memo.clear()

    def put(self, path: str, /, **params: object) -> Json:
        """Change; idempotent, so retried."""
        return self._write("PUT", path, params)

    def post(self, path: str, /, **params: object) -> Json:
        """Create; retried only where the request surely did not arrive."""
        return self._write("POST", path, params)

    def delete(self, path: str, /, **params: object) -> Json:
        """Remove; retried only where the request surely did not arrive."""
        return self._write("DELETE", path, params)

    def _write(self, method: str, path: str, params: dict[str, object]) -> Json:
        try:
            return self._retried(method, path, params)
        finally:
            self.forget()

    def _retried(self, method: str, path: str, params: dict[str, object]) -> Json:
        for attempt in range(1, TRIES + 1):
            credential = self._credential
            try:
                return self._request(method, path, params)
            except RemoteError as error:
                if isinstance(error, ApiError) and error.status == 401 and self._renewed(credential):
                    continue
                if attempt == TRIES or not _worth_a_retry(method, error):
                    raise
                if not isinstance(error, ApiError):
                    self._look_elsewhere()
                self._on_wait(f"{method} {path}", 0.0, error.report.problem)
                pause(backoff(attempt))
        raise AssertionError("unreachable")

    def _renewed(self, refused: Credential) -> bool:
        """Replace a credential that was refused at once; whichever thread asks first. Tell whether there is another."""
        with self._lock:
            if self._credential is refused and self._renew is not None and self._reached.refused:
                self._credential, self._renew, self._api = self._renew(), None, None
                self._reached.refused = False
            return self._credential is not refused

    def _request(self, method: str, path: str, params: dict[str, object]) -> Json:
        sent = {name: value for name, value in params.items() if value is not None}
        lost = RemoteError if method in _IDEMPOTENT else LostAnswerError
        api = self._connected()
        if path == "/version" and self._reached.version:
            return self._reached.version
        try:
            resource = api([quote(part, safe=":@!") for part in path.strip("/").split("/")])
            return getattr(resource, method.lower())(**sent)
        except ResourceException as error:
            raise self._api_error(method, path, error) from None
        except requests.exceptions.SSLError as error:
            raise tls_problem(self._reached.where, str(error)) from None
        except requests.exceptions.ConnectTimeout:
            raise UnreachableError(self._reached.where, "gives no answer to a connection") from None
        except requests.exceptions.ReadTimeout:
            problem, fix = f"no answer within {self._reached.timeout:.0f} s", "is that host overloaded? " + AGAIN
            raise lost(f"{method} {path}", problem, fix) from None
        except requests.exceptions.ConnectionError as error:
            if "Failed to establish" in str(error):
                problem, fix = "refuses the connection", "is pveproxy running there?"
                raise UnreachableError(self._reached.where, problem, fix) from None
            raise lost(f"{method} {path}", "the connection was cut before an answer came") from None
        except requests.exceptions.RequestException as error:
            raise lost(f"{method} {path}", mask(str(error))) from None

    def _api_error(self, method: str, path: str, error: ResourceException) -> ApiError:
        told = error.errors if isinstance(error.errors, dict) else {}
        fields = {name: text for name, text in told.items() if text}  # of an empty body proxmoxer makes b""
        message = str(error.content).split(" - {", 1)[0].strip()
        detail = "; ".join(f"{name}: {str(text).strip()}" for name, text in fields.items())
        fix = ""
        if error.status_code == 401:
            fix = (
                f"{self.identity} is not let in: check PROXMOX_ADMIN_TOKEN or PROXMOX_ADMIN_PASSWORD in .env; "
                "where neither is set, run the same command again and a new token is made"
            )
        elif error.status_code == 403:
            fix = f"`invoke doctor` names every privilege that {self.identity} lacks, and the command that gives it"
        elif error.status_code in _NOT_HANDED_ON:
            fix = f"the node that was asked does not reach the one that it is about: is that one up? {AGAIN}"
        elif error.status_code >= 500:
            fix = f"see `journalctl -u pvedaemon -u pveproxy` on that node if it stays; {AGAIN}"
        text = mask(f"{message}{' (' + detail + ')' if detail else ''}")
        plain = {str(name): str(value) for name, value in fields.items()}
        return ApiError(f"{method} {path}", f"HTTP {error.status_code} {text}", error.status_code, message, plain, fix)

    def connect(self) -> None:
        """Connect now rather than at the first request."""
        self._connected()

    def _connected(self) -> ProxmoxAPI:
        with self._lock:
            if self._api is None:
                self._api = self._reached.open(self._credential)
            return self._api

    def _look_elsewhere(self) -> None:
        """Let the next request look for a host that answers: this one does no more."""
        with self._lock:
            self._api = None
        self._reached.lose()

    # --------------------------------------------------------------- tasks

    def task(self, upid: str, what: str, timeout: float) -> None:
        """Wait for a task (API: /nodes/{node}/tasks/{upid}/status).

        Args:
            upid: the task.
            what: what it does, as the user would say it.
            timeout: seconds.

        Raises:
            TaskFailedError: it ended otherwise than OK; carries the last lines of its log.
            WaitTimeoutError: it still runs.
        """
        node = upid.split(":")[1]
        path = f"/nodes/{node}/tasks/{upid}"

        def look() -> tuple[str | None, str]:
            status = self.get(f"{path}/status")
            if status.get("status") == "running":
                return None, "running"
            return str(status.get("exitstatus") or "unexpected status"), "stopped"

        self._on_wait(what, 0.0, upid)  # into the run log before anything is waited for
        ended = wait_for(f"{what} ({upid})", look, timeout, self._on_wait)
        self.forget()
        if ended != "OK" and not ended.startswith("WARNINGS"):
            lines = [str(line.get("t", "")) for line in self.get(f"{path}/log", limit=500)][-4:]
            tail = "\n    ".join(lines)
            fix = f"see its log on {node}, mend the cause, and run the same command again: it goes on from there"
            raise TaskFailedError(what, mask(f"the task on {node} failed: {ended}\n    {tail}"), ended, fix)

    def run(self, method: str, path: str, what: str, timeout: float, /, **params: object) -> None:
        """Start a task and wait for it; a task that met somebody else's lock is started again.

        Raises:
            TaskFailedError, WaitTimeoutError, ApiError: as `task` and the request.
        """
        for attempt in range(1, TRIES + 1):
            try:
                self.task(self._write(method, path, dict(params)), what, timeout)
                return
            except (TaskFailedError, ApiError) as error:
                told = error.exitstatus if isinstance(error, TaskFailedError) else error.message
                if attempt == TRIES or "can't lock file" not in told:
                    raise
                self._on_wait(what, 0.0, told)
                pause(backoff(attempt))

    def running_task(self, node: str, kind: str, id: str) -> str | None:
        """Return the UPID of a task of that type on that object that still runs, for re-attaching to it."""
        for task in self.get(f"/nodes/{node}/tasks", source="active", typefilter=kind):
            if str(task.get("id")) == id and not task.get("endtime"):
                return str(task["upid"])
        return None


def _worth_a_retry(method: str, error: RemoteError) -> bool:
    if isinstance(error, UnreachableError):
        return "TLS" not in error.report.problem
    if isinstance(error, ApiError):
        if error.status == 595:  # the proxy found no connection to hand the request on; from 596 on it had one
            return True
        transient = error.status >= 500 and error.status != 501
        return transient and method in _IDEMPOTENT and not any(word in error.message.lower() for word in _FINAL)
    return method in _IDEMPOTENT
