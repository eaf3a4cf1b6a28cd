"""Own reading the API through `pvesh` over SSH: slow, but it needs no credential, so a dry run writes nothing."""

from __future__ import annotations

import json
from typing import Any

from lib.clients.pve import Pve
from lib.clients.pve_session import Api, Credential
from lib.clients.ssh import Host
from lib.clients.waiting import OnWait
from lib.command import read
from lib.errors import ApiError, CommandError
from lib.secrets import Secret


class PveOverSsh(Pve):
    """The API as root@pam on one host; reads alone."""

    def __init__(self, api: Api, host: Host, on_wait: OnWait) -> None:
        """Prepare; `host` is any node of the cluster, `api` where the API itself answers."""
        super().__init__(api, Credential("root@pam", Secret("")), on_wait)
        self._host = host

    def connect(self) -> None:
        """Connect now rather than at the first request; the API has to answer, too, though nothing is asked of it."""
        self._reached.find()
        self._host.connect()

    def _request(self, method: str, path: str, params: dict[str, object]) -> Any:
        self._reached.find()
        if method != "GET":
            raise ApiError(f"{method} {path}", "is a write, and this run only reads", 405, "read only")
        options = [word for name, value in params.items() for word in (f"--{name}", str(value))]
        try:
            answer = self._host.run(read("pvesh", "get", path, *options, "--output-format", "json"))
        except CommandError as error:
            raise ApiError(f"{method} {path}", error.report.problem, 500, error.stderr) from None
        return json.loads(answer.stdout)
