"""Own the choice between the lab and real hosts, and how each is reached and logged in to.

Where no Proxmox host was ever configured the target is the lab. Once a real
target has been used here, the lab is entered only by name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from lib.clients.pve_session import Credential, Tls
from lib.clients.ssh import Host, Hosts
from lib.clients.ssh_connection import Login
from lib.clients.waiting import TRIES
from lib.command import Command, read, write
from lib.config.access import Access
from lib.config.environment import read_environment
from lib.config.model import Cluster
from lib.engine.evidence import write_file
from lib.errors import CommandError, ConfigurationError, LostAnswerError, Problem, StepError, UnreachableError
from lib.secrets import Secret

ADMIN_TOKEN_HOURS = 12
CA_ON_HOST = "/etc/pve/pve-root-ca.pem"


class Target(msgspec.Struct, frozen=True):
    """Where a run goes: its name in reports, the folder its files go to, and how it is reached.

    `ssh` are the addresses of the cluster's hosts, API hosts first: any of them may be logged in to.
    `name_server` is the login there, which has its own user; `dns_at` the address and port where it answers.
    """

    name: str
    told: str
    base: Path
    access: Access
    login: Login
    name_server: Login
    dns_at: tuple[str, int]
    ssh: tuple[str, ...]
    endpoints: tuple[tuple[str, int], ...]
    warnings: tuple[str, ...]

    @property
    def api_urls(self) -> tuple[str, ...]:
        """The API as Packer wants it, on every host that has it."""
        return tuple(f"https://{host}:{port}/api2/json" for host, port in self.endpoints)

    @property
    def identity(self) -> str:
        """What the evidence is tied to: the cluster's CA where one is known, else the host."""
        ca = self.access.ca_file or self.base / ".groundwork" / "cluster-ca.pem"
        return hashlib.sha256(ca.read_bytes()).hexdigest()[:16] if ca.is_file() else self.name


def choose(root: Path, environ: Mapping[str, str], cluster: Cluster) -> Target:
    """Choose the target.

    Raises:
        ConfigurationError: `.env` is half filled, or missing although a real target was used here.
    """
    access = read_environment(root, environ)
    used = root / ".groundwork"
    if access is None and used.is_dir() and environ.get("GROUNDWORK_TARGET") != "lab":
        raise ConfigurationError(
            [
                Problem(
                    ".env",
                    "is missing, and a real cluster was used from here",
                    "restore it, or say GROUNDWORK_TARGET=lab",
                )
            ]
        )
    if access is None or access.kind == "lab":
        return _lab(root, cluster, "no PROXMOX_HOST is configured" if access is None else "GROUNDWORK_TARGET=lab")
    host = access.hosts[0][0]
    warnings = () if access.verify else ("TLS verification is turned off by PROXMOX_TLS_VERIFY=no",)
    login = Login(access.ssh_user, access.ssh_port, access.ssh_key, _known_hosts(root, access))
    first = [host for host, _ in access.hosts]
    addresses = [host.address for host in cluster.proxmox.hosts]
    ssh = tuple(sorted(addresses, key=lambda address: address not in first))
    server, at = _name_server(login, cluster), (cluster.dns.server, 53)
    return Target(host, f"Proxmox at {host}", root, access, login, server, at, ssh, tuple(access.hosts), warnings)


def _name_server(login: Login, cluster: Cluster) -> Login:
    """Return the login on the name server: often the router, with a user of its own and SSH where it usually is."""
    prefix = ("sudo", "-n") if cluster.dns.sudo else ()
    return replace(login, user=cluster.dns.user, port=22, prefix=prefix)


def _known_hosts(root: Path, access: Access) -> tuple[Path, ...]:
    """Return what `invoke trust` recorded and then the user's own; or the one file that .env names."""
    if access.known_hosts is not None:
        return (access.known_hosts,)
    return (root / ".groundwork" / "known_hosts", Path.home() / ".ssh" / "known_hosts")


def _lab(root: Path, cluster: Cluster, why: str) -> Target:
    from lib.lab.start import ensure  # the product knows the lab only here

    lab = ensure(root)
    base = root / ".lab"
    endpoints = []
    for url in lab["api"].values():
        host, _, port = url.removeprefix("https://").rpartition(":")
        endpoints.append((host, int(port)))
    reach = {f"{address}:22": ("127.0.0.1", port) for address, port in lab["ssh"].items()}
    access = Access(kind="lab", hosts=tuple(endpoints), ca_file=root / lab["ca_file"])
    hosts = cluster.proxmox.hosts
    answers = {address: ("127.0.0.1", port) for address, port in lab.get("dns", {}).items()}
    missing = [host.name for host in hosts if host.address not in lab["ssh"] or host.name not in lab["api"]]
    missing += [cluster.dns.server] if cluster.dns.server not in answers else []
    if missing:
        raise StepError(
            "lab",
            f"was made for another cluster.toml (it has no host {', '.join(missing)} of that address)",
            "invoke lab.reset, then run again",
        )
    login = Login("root", 22, root / lab["ssh_key_file"], (base / "known_hosts",), reach)
    told = f"rehearsal in the lab ({why}; no hardware is touched)"
    server, at = _name_server(login, cluster), answers[cluster.dns.server]
    ssh = tuple(address for address in lab["ssh"] if address in [host.address for host in hosts])
    return Target("lab", told, base, access, login, server, at, ssh, tuple(endpoints), ())


def tls_of(target: Target, hosts: Hosts) -> Tls:
    """Say how the API's certificate is checked; where nothing is said, by the CA fetched over verified SSH."""
    access = target.access
    if access.ca_file is not None or access.fingerprint or not access.verify:
        return Tls(access.ca_file, access.fingerprint, access.verify)
    kept = target.base / ".groundwork" / "cluster-ca.pem"
    if not kept.is_file():
        content = shell_of(target, hosts).run(read("cat", CA_ON_HOST)).stdout
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(kept, content)
    return Tls(ca_file=kept)


def administrator(target: Target, hosts: Hosts, dry_run: bool) -> Credential | None:
    """Return the administrator's credential: of .env, or a short-lived token; None where a dry run would make one."""
    access = target.access
    if access.token is not None:
        user, _, token_id = access.token_id.partition("!")
        return Credential(user, access.token, token_id)
    if access.password is not None:
        return Credential(access.user, access.password)
    known = _kept(_kept_at(target))
    return known if known is not None or dry_run else make_token(target, hosts)


def makes_token(target: Target) -> bool:
    """Tell whether the administrator's credential is a token that is made here."""
    return target.access.token is None and target.access.password is None


def make_token(target: Target, hosts: Hosts) -> Credential:
    """Make the administrator's short-lived token over SSH with pveum, and keep it until it expires.

    Its name is derived from this checkout, so a lost one is replaced and never left behind. When it expires is
    written down by our clock.
    """
    here = hashlib.sha256(f"{socket.gethostname()}:{target.base}".encode()).hexdigest()[:8]
    token_id = f"groundwork-{here}"
    shell = shell_of(target, hosts)
    add = ("pveum", "user", "token", "add", "root@pam", token_id, "--privsep", "0")
    lasts = ADMIN_TOKEN_HOURS * 3600
    there = int(shell.run(read("date", "+%s")).stdout)  # it lasts by that clock
    command = write(*add, "--expire", str(there + lasts), "--comment", "groundwork", "--output-format", "json")
    value = str(json.loads(_added(shell, command, token_id))["value"])
    credential = Credential("root@pam", Secret(value), token_id)
    kept = _kept_at(target)
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    body = {"user": "root@pam", "token_id": token_id, "value": value, "expire": int(time.time()) + lasts}
    write_file(kept, json.dumps(body) + "\n")
    return credential


def _added(shell: Host, add: Command, token_id: str) -> str:
    """Add the token and return what was printed, its secret in it; one whose answer was lost is made anew."""
    for left in reversed(range(TRIES)):
        try:
            return shell.run(add).stdout
        except LostAnswerError:
            if not left:
                raise
        except CommandError as error:
            if "already exists" not in error.stderr or not left:
                raise
            with contextlib.suppress(LostAnswerError):
                shell.run(write("pveum", "user", "token", "remove", "root@pam", token_id))
    raise AssertionError("unreachable")


def forget_administrator(target: Target) -> None:
    """Drop the token kept from an earlier run: the cluster refuses it, and the next run makes another."""
    _kept_at(target).unlink(missing_ok=True)


def shell_of(target: Target, hosts: Hosts) -> Host:
    """Return the first of the cluster's hosts that lets us in over SSH.

    Raises:
        UnreachableError: none does; says so of the first.
    """
    failed: UnreachableError | None = None
    for address in target.ssh:
        try:
            hosts.on(address).connect()
        except UnreachableError as error:
            failed = failed or error
        else:
            return hosts.on(address)
    assert failed is not None
    raise failed


def _kept_at(target: Target) -> Path:
    return target.base / ".groundwork" / "admin-token.json"


def _kept(path: Path) -> Credential | None:
    """Return the token kept from an earlier run, while it has an hour left."""
    try:
        found = json.loads(path.read_text())
        if float(found["expire"]) < time.time() + 3600:
            return None
        return Credential(found["user"], Secret(found["value"]), found["token_id"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
