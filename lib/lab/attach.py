"""Own what a third-party client is told to join the lab: environment variables and an OpenSSH configuration."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from lib.config.cluster import load_cluster


def environment(root: Path, lab: dict[str, Any]) -> str:
    """Return export lines for proxmoxer, OpenTofu's provider and Packer; `lab` is what lab.json says."""
    url = next(iter(lab["api"].values()))
    ca = str(root / lab["ca_file"])
    password = (root / lab["root_password_file"]).read_text().strip()
    variables = {
        "GROUNDWORK_TARGET": "lab",
        "PROXMOX_URL": f"{url}/api2/json",
        "PROXMOX_USERNAME": "root@pam",
        "PROXMOX_PASSWORD": password,
        "PROXMOX_VE_ENDPOINT": f"{url}/",
        "PROXMOX_VE_USERNAME": "root@pam",
        "PROXMOX_VE_PASSWORD": password,
        "SSL_CERT_FILE": ca,
        "REQUESTS_CA_BUNDLE": ca,
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def ssh_config(root: Path, lab: dict[str, Any]) -> str:
    """Return an OpenSSH configuration in which `ssh ADDRESS` and `ssh NAME` reach the simulated hosts."""
    known = root / ".lab" / "known_hosts"
    names = dict(line.split()[0].split(",")[:2] for line in known.read_text().splitlines())
    dns = load_cluster(root / "cluster.toml").dns
    out = ""
    for address, port in lab["ssh"].items():
        out += f"Host {address} {names.get(address, '')}".rstrip() + "\n"
        user = dns.user if address == dns.server else "root"
        out += f"  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  HostKeyAlias {address}\n"
        out += f'  IdentityFile "{root / lab["ssh_key_file"]}"\n  IdentitiesOnly yes\n'
        out += f'  UserKnownHostsFile "{known}"\n  GlobalKnownHostsFile /dev/null\n'
        out += "  StrictHostKeyChecking yes\n  CheckHostIP no\n"
    return out
