"""Own the Proxmox REST API: one pooled session, verified TLS, retries, tasks. proxmoxer is imported here alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from proxmoxer import ProxmoxAPI
from proxmoxer.core import AuthenticationError, ResourceException
from requests.adapters import HTTPAdapter

from lib.clients.waiting import TRIES, OnWait, backoff, pause, wait_for
from lib.errors import ApiError, GroundworkError, RemoteError, TaskFailedError, UnreachableError
from lib.secrets import Secret, mask

Json = Any
_FINAL = ("does not exist", "no such", "already exists", "not defined", "already defined", "permission", "not allowed")


@dataclass(frozen=True)
class Credential:
    """An API token (`user@realm!id` and its secret), or a user and password."""

    user: str
    secret: Secret
    token_id: str = ""

    @property
    def identity(self) -> str:
        """`user@realm!id` for a token, else the user."""
        return f"{self.user}!{self.token_id}" if self.token_id else self.user


@dataclass(frozen=True)
class Tls:
    """How the API's certificate is checked: by CA file, by SHA-256 fingerprint, or (by name) not at all."""

    ca_file: Path | None = None
    fingerprint: str = ""
    verify: bool = True


class _Pool(HTTPAdapter):
    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        super().__init__(pool_maxsize=8, pool_block=True)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._fingerprint:
            kwargs["assert_fingerprint"] = self._fingerprint
        super().init_poolmanager(*args, **kwargs)


class Pve:
    """The Proxmox cluster's API as one identity; safe to use from several threads."""

    def __init__(
        self,
        endpoints: Iterable[tuple[str, int]],
        credential: Credential,
        tls: Tls,
        on_wait: OnWait,
        timeout: float = 30.0,
    ) -> None:
        """Prepare; nothing is sent before the first request. `timeout` is seconds per request."""
        self._endpoints = list(endpoints)
        self._credential = credential
        self._tls = tls
        self._on_wait = on_wait
        self._timeout = timeout
        self._api: ProxmoxAPI | None = None
        self._lock = threading.Lock()
        self._memo: dict[str, Future[Json]] = {}

    @property
    def identity(self) -> str:
        """Who we are there."""
        return self._credential.identity

    # ------------------------------------------------------------ requests

    def get(self, path: str, /, **params: object) -> Json:
        """Read. Raises ApiError or UnreachableError."""
        return self._retried("GET", path, params)

    def once(self, path: str) -> Json:
        """Read, or give what was read since the last write: many steps look at the same collection."""
        with self._lock:
            found = self._memo.get(path)
            mine = found is None
            if found is None:
                found = self._memo[path] = Future()
        if mine:
            try:
                found.set_result(self._retried("GET", path, {}))
            except GroundworkError as error:
                with self._lock:
                    self._memo.pop(path, None)
                found.set_exception(error)
        return found.result()

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
            with self._lock:
                self._memo.clear()

    def _retried(self, method: str, path: str, params: dict[str, object]) -> Json:
        for attempt in range(1, TRIES + 1):
            try:
                return self._request(method, path, params)
            except RemoteError as error:
                if attempt == TRIES or not _worth_a_retry(method, error):
                    raise
                self._on_wait(f"{method} {path}", 0.0, error.report.problem)
                pause(backoff(attempt))
        raise AssertionError("unreachable")

    def _request(self, method: str, path: str, params: dict[str, object]) -> Json:
        sent = {name: _text(value) for name, value in params.items() if value is not None}
        api = self._connected()
        try:
            resource = api([quote(part, safe=":@!") for part in path.strip("/").split("/")])
            if method in ("GET", "DELETE"):
                return getattr(resource, method.lower())(**sent)
            return getattr(resource, method.lower())(**sent)
        except ResourceException as error:
            raise self._api_error(method, path, error) from None
        except requests.exceptions.SSLError as error:
            raise _tls_problem(self._where(), str(error)) from None
        except requests.exceptions.ConnectTimeout:
            raise UnreachableError(self._where(), "gives no answer to a connection") from None
        except requests.exceptions.ReadTimeout:
            raise RemoteError(f"{method} {path}", f"no answer within {self._timeout:.0f} s") from None
        except requests.exceptions.ConnectionError as error:
            if "Failed to establish" in str(error):
                raise UnreachableError(self._where(), "refuses the connection", "is pveproxy running there?") from None
            raise RemoteError(f"{method} {path}", "the connection was cut before an answer came") from None
        except requests.exceptions.RequestException as error:
            raise RemoteError(f"{method} {path}", mask(str(error))) from None

    def _api_error(self, method: str, path: str, error: ResourceException) -> ApiError:
        fields = error.errors if isinstance(error.errors, dict) else {}
        message = str(error.content).split(" - {", 1)[0].strip()
        detail = "; ".join(f"{name}: {str(text).strip()}" for name, text in fields.items())
        fix = ""
        if error.status_code == 401:
            fix = "the credential is wrong or expired: check PROXMOX_ADMIN_TOKEN or PROXMOX_ADMIN_PASSWORD in .env"
        elif error.status_code == 403:
            fix = f"give {self.identity} that privilege (Datacenter → Permissions), or use an administrator in .env"
        text = mask(f"{message}{' (' + detail + ')' if detail else ''}")
        plain = {str(name): str(value) for name, value in fields.items()}
        return ApiError(f"{method} {path}", f"HTTP {error.status_code} {text}", error.status_code, message, plain, fix)

    # ---------------------------------------------------------- connection

    def _where(self) -> str:
        host, port = self._endpoints[0]
        return f"https://{host}:{port}"

    def _connected(self) -> ProxmoxAPI:
        with self._lock:
            if self._api is None:
                self._api = self._connect()
            return self._api

    def _connect(self) -> ProxmoxAPI:
        """Take the first API host that answers; the order is the user's."""
        failed: UnreachableError | None = None
        for host, port in list(self._endpoints):
            try:
                api = self._open(host, port)
                self._store(api).get(f"https://{host}:{port}/api2/json/version", timeout=self._connect_limit())
                self._endpoints.remove((host, port))
                self._endpoints.insert(0, (host, port))
                return api
            except AuthenticationError:
                fix = "check PROXMOX_ADMIN_USER and PROXMOX_ADMIN_PASSWORD in .env"
                raise ApiError(f"https://{host}:{port}", "refuses the password", 401, "", fix=fix) from None
            except requests.exceptions.SSLError as error:
                raise _tls_problem(f"https://{host}:{port}", str(error)) from None
            except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
                kind = "gives no answer" if isinstance(error, requests.exceptions.Timeout) else "cannot be reached"
                failed = UnreachableError(
                    f"https://{host}:{port}", f"the Proxmox API {kind}", "check PROXMOX_HOST in .env and the network"
                )
        assert failed is not None
        raise failed

    def _connect_limit(self) -> tuple[float, float]:
        return (min(5.0, self._timeout), min(10.0, self._timeout))

    def _open(self, host: str, port: int) -> ProxmoxAPI:
        verify: bool | str = str(self._tls.ca_file) if self._tls.ca_file else self._tls.verify
        if self._tls.fingerprint or not self._tls.verify:
            verify = False
        options: dict[str, Any] = {"port": port, "verify_ssl": verify, "timeout": self._timeout}
        if self._credential.token_id:
            options |= {
                "user": self._credential.user,
                "token_name": self._credential.token_id,
                "token_value": self._credential.secret.reveal(),
            }
        else:
            options |= {"user": self._credential.user, "password": self._credential.secret.reveal()}
        api = ProxmoxAPI(host, **options)
        session = self._store(api)
        # Proxies and CA bundles of the environment would bypass what the user said in .env.
        session.trust_env = False
        session.mount("https://", _Pool(self._tls.fingerprint))
        return api

    @staticmethod
    def _store(api: ProxmoxAPI) -> requests.Session:
        session: requests.Session = api._store["session"]
        return session

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

        ended = wait_for(f"{what} ({upid})", look, timeout, self._on_wait)
        with self._lock:
            self._memo.clear()
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

    def since(self) -> float:
        """Return the local clock, to compare with a host's (epoch seconds)."""
        return time.time()


def _text(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Secret):
        return value.reveal()
    return value


def _worth_a_retry(method: str, error: RemoteError) -> bool:
    if isinstance(error, UnreachableError):
        return "TLS" not in error.report.problem
    if isinstance(error, ApiError):
        if error.status in (595, 596):  # the proxy could not hand the request on
            return True
        transient = error.status >= 500 and error.status != 501
        return transient and method in ("GET", "PUT") and not any(word in error.message.lower() for word in _FINAL)
    return method in ("GET", "PUT")


def _tls_problem(where: str, text: str) -> UnreachableError:
    kind = "fingerprint" if "ingerprint" in text else "certificate"
    problem = f"TLS: its {kind} is not the one that is trusted"
    return UnreachableError(where, problem, "`invoke trust` shows it; compare it on the host, then record it there")
