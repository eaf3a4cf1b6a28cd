"""Own `invoke trust`: show who the hosts say they are, and write it down. In no other way is a key accepted."""

from __future__ import annotations

import hashlib
import os
import ssl
from pathlib import Path

from msgspec.structs import replace

from lib.clients.ssh import Hosts
from lib.clients.ssh_connection import present
from lib.config.cluster import load_cluster
from lib.engine.evidence import write_file
from lib.errors import GroundworkError, RefusedError, UnreachableError, UsageError
from lib.tasks.console import Screen
from lib.tasks.run import root
from lib.tasks.target import Target, choose, tls_of


def record(reinstalled: str) -> None:
    """Print each host's key with its fingerprint and record it; then the cluster CA's, fetched over verified SSH.

    Raises:
        RefusedError: a recorded key has changed and was not named by --replace.
        UsageError: --replace names no host of cluster.toml.
        UnreachableError: a host does not answer; the others' keys are recorded.
    """
    screen = Screen(False, False)
    cluster = load_cluster(root() / "cluster.toml")
    addresses = [*(host.address for host in cluster.proxmox.hosts), cluster.dns.server]
    if reinstalled and reinstalled not in addresses:
        raise UsageError("--replace", f"is no host's address (got {reinstalled})", f"one of {', '.join(addresses)}")
    target = choose(root(), os.environ, cluster)
    screen.title(f"groundwork trust · {target.told}")
    path = target.base / ".groundwork" / "known_hosts"
    known = _read(path)
    changed, silent = [], None
    hosts = [(host.name, host.address, target.login) for host in cluster.proxmox.hosts]
    for name, address, login in [*hosts, ("name server", cluster.dns.server, target.name_server)]:
        try:
            key = present(address, login)
        except UnreachableError as error:
            screen.line(f"  {name:<12} {address:<16} {error.report.problem}", "yellow")
            silent = silent or error
            continue
        state = {True: "known", False: "CHANGED", None: "new"}[key.known]
        screen.line(f"  {name:<12} {address:<16} {key.kind:<22} {key.fingerprint}  {state}")
        if state == "CHANGED" and reinstalled != address:
            changed.append(address)
            continue
        known[key.name] = f"{key.kind} {key.text}"
    if changed:
        raise RefusedError(
            changed[0],
            "its host key is not the one that is known",
            f"if it was reinstalled: invoke trust --replace {changed[0]}",
        )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_file(path, "".join(f"{name} {entry}\n" for name, entry in known.items()))
    screen.line(f"  recorded in {path.relative_to(root())}")
    _show_ca(screen, target, path)
    if silent is not None:
        raise silent


def _read(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    return {name: rest for name, _, rest in (line.partition(" ") for line in path.read_text().splitlines()) if rest}


def _show_ca(screen: Screen, target: Target, recorded: Path) -> None:
    login = replace(target.login, known_hosts=(recorded, *target.login.known_hosts))
    hosts = Hosts(login, lambda *_: None)
    try:
        tls = tls_of(target, hosts)
    except GroundworkError as error:
        screen.line(f"  cluster CA: not fetched ({error.report.problem})", "yellow")
        return
    finally:
        hosts.close()
    if tls.ca_file is not None:
        der = ssl.PEM_cert_to_DER_cert(tls.ca_file.read_text())
        digest = hashlib.sha256(der).hexdigest().upper()
        told = ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))
        screen.line(f"  cluster CA   SHA256 {told}")
