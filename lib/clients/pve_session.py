"""Own how the Proxmox API is reached: which host answers, its certificate, who we are, the pooled connections.

What is asked there is in `pve`; these two modules alone import proxmoxer and requests.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import msgspec
import requests
from proxmoxer import ProxmoxAPI
from proxmoxer.backends.https import ProxmoxHTTPAuth
from proxmoxer.core import AuthenticationError
from requests.adapters import HTTPAdapter

from lib.errors import ApiError, UnreachableError
from lib.secrets import Secret

CONNECTIONS = 6


class Credential(msgspec.Struct, frozen=True):
    """An API token (`user@realm!id` and its secret), or a user and password."""

    user: str
    secret: Secret
    token_id: str = ""

    @property
    def identity(self) -> str:
        """`user@realm!id` for a token, else the user."""
        return f"{self.user}!{self.token_id}" if self.token_id else self.user


class Tls(msgspec.Struct, frozen=True):
    """How the API's certificate is checked: by CA file, by SHA-256 fingerprint, or (by name) not at all."""

    ca_file: Path | None = None
    fingerprint: str = ""
    verify: bool = True


class _Pool(HTTPAdapter):
    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint
        super().__init__(pool_maxsize=CONNECTIONS, pool_block=True)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if self._fingerprint:
            kwargs["assert_fingerprint"] = self._fingerprint
        super().init_poolmanager(*args, **kwargs)


class _Ticket(ProxmoxHTTPAuth):
    """A password's ticket, asked for over a connection of ours: proxmoxer's own request would know no fingerprint."""

    pve_auth_ticket: str

    def __init__(self, plain: requests.Session, credential: Credential, **options: Any) -> None:
        self._plain = plain
        self._renewing = threading.Lock()
        super().__init__(credential.user, credential.secret.reveal(), **options)

    def __call__(self, request: Any) -> Any:
        with self._renewing:
            return super().__call__(request)

    def _get_new_tokens(self, password: str | None = None, otp: str | None = None, otptype: str = "") -> None:
        answer = self._plain.post(
            f"{self.base_url}/access/ticket",
            data={"username": self.username, "password": password or self.pve_auth_ticket},
            timeout=self.timeout,
            verify=self.verify_ssl,
        )
        data = answer.json()["data"] if answer.status_code == 200 else None
        if not data or data.get("NeedTFA"):
            raise AuthenticationError("a second factor is asked for" if data else "the password is refused")
        self.birth_time = time.monotonic()
        self.pve_auth_ticket, self.csrf_prevention_token = data["ticket"], data["CSRFPreventionToken"]


class Api:
    """Where the API answers, how its certificate is checked, and the connections that all identities share."""

    def __init__(self, endpoints: Iterable[tuple[str, int]], tls: Tls, timeout: float = 30.0) -> None:
        """Prepare; nothing is sent. `endpoints` are (host, port) in the user's order, `timeout` is seconds a request.

        Attributes:
            version: what GET /version said when the host that answers was found (release, repoid, version).
            ahead: how many seconds that host's clock was ahead of ours then, to a second or two.
            refused: whether the credential that asked for it was refused.
        """
        self.timeout = timeout
        self.refused = False
        self.version: dict[str, Any] | None = None
        self.ahead = 0.0
        self._endpoints = list(endpoints)
        self._tls = tls
        self._pool = _Pool(tls.fingerprint)
        self._found = False
        self._lock = threading.Lock()

    @property
    def where(self) -> str:
        """The host that is asked, as a URL."""
        host, port = self._endpoints[0]
        return f"https://{host}:{port}"

    def open(self, credential: Credential) -> ProxmoxAPI:
        """Return the API as that identity, on the first host that answers.

        Raises:
            UnreachableError: none answers, or its certificate is not the one that is trusted.
            ApiError: the password is refused.
        """
        with self._lock:
            found = None if self._found else self._first(credential)
            return found or self._as(credential, *self._endpoints[0])

    def find(self) -> None:
        """Find the host that answers, as nobody: its certificate is checked, and no credential is sent.

        Raises:
            UnreachableError: none answers, or its certificate is not the one that is trusted.
        """
        with self._lock:
            if not self._found:
                self._first(None)

    def lose(self) -> None:
        """Forget which host answers."""
        with self._lock:
            self._found = False

    def _first(self, credential: Credential | None) -> ProxmoxAPI | None:
        """Return the API on the first host that answers; None as nobody."""
        failed: UnreachableError | None = None
        limit = (min(5.0, self.timeout), min(10.0, self.timeout))
        for host, port in list(self._endpoints):
            where = f"https://{host}:{port}"
            try:
                api = self._as(credential, host, port) if credential else None
                session = api._store["session"] if api else self._nobody()
                answer = session.get(f"{where}/api2/json/version", timeout=limit)
            except requests.exceptions.SSLError as error:
                raise tls_problem(where, str(error)) from None
            except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
                kind = "gives no answer" if isinstance(error, requests.exceptions.Timeout) else "cannot be reached"
                fix = "check PROXMOX_HOST in .env and the network"
                failed = UnreachableError(where, f"the Proxmox API {kind}", fix)
                continue
            self.refused = credential is not None and answer.status_code == 401
            with contextlib.suppress(KeyError, ValueError):
                self.ahead = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
            if answer.status_code == 200:
                self.version = answer.json()["data"]
            self._endpoints.remove((host, port))
            self._endpoints.insert(0, (host, port))
            self._found = True
            return api
        assert failed is not None
        raise failed

    def _as(self, credential: Credential, host: str, port: int) -> ProxmoxAPI:
        options: dict[str, Any] = {"verify_ssl": self._verify(), "timeout": self.timeout}
        token = {"token_name": credential.token_id, "token_value": credential.secret.reveal()}
        api = ProxmoxAPI(host, user=credential.user, port=port, **token, **options)
        session: requests.Session = api._store["session"]
        self._ours(session)
        if not credential.token_id:
            where = f"https://{host}:{port}"
            try:
                session.auth = _Ticket(
                    self._ours(requests.Session()), credential, base_url=f"{where}/api2/json", **options
                )
            except AuthenticationError as error:
                fix = "check PROXMOX_ADMIN_USER and PROXMOX_ADMIN_PASSWORD in .env, or use an API token"
                raise ApiError(where, f"does not let {credential.user} in: {error}", 401, str(error), fix=fix) from None
        return api

    def _verify(self) -> bool | str:
        if self._tls.fingerprint or not self._tls.verify:
            return False  # the pool looks at the fingerprint
        return str(self._tls.ca_file) if self._tls.ca_file else True

    def _nobody(self) -> requests.Session:
        session = self._ours(requests.Session())
        session.verify = self._verify()
        return session

    def _ours(self, session: requests.Session) -> requests.Session:
        # Proxies and CA bundles of the environment would bypass what the user said in .env.
        session.trust_env = False
        session.mount("https://", self._pool)
        return session


def tls_problem(where: str, text: str) -> UnreachableError:
    """Say that a certificate is not trusted; `text` is what the library said."""
    kind = "fingerprint" if "ingerprint" in text else "certificate"
    problem = f"TLS: its {kind} is not the one that is trusted"
    return UnreachableError(where, problem, "`invoke trust` shows it; compare it on the host, then record it there")
