"""Own how the Proxmox cluster is reached and logged in to, as a value."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from lib.secrets import Secret


class Access(msgspec.Struct, frozen=True):
    """API hosts in order, credentials, TLS, SSH; from `.env` and the process environment."""

    hosts: tuple[tuple[str, int], ...]
    kind: Literal["real", "lab"] = "real"
    token_id: str = ""
    token: Secret | None = None
    user: str = ""
    password: Secret | None = None
    ca_file: Path | None = None
    fingerprint: str = ""
    verify: bool = True
    ssh_user: str = "root"
    ssh_port: int = 22
    ssh_key: Path | None = None
    known_hosts: Path | None = None
