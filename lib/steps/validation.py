"""Own the checks that come before everything: is this the cluster that cluster.toml describes, and is it well?"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from functools import partial
from typing import ClassVar
from urllib.parse import urlsplit

import msgspec

from lib.clients.ssh import Host as Shell
from lib.clients.waiting import together
from lib.command import read
from lib.config.addresses import users
from lib.config.guests import vmids
from lib.config.model import Cluster, Host
from lib.engine.step import Change, Inputs, Step
from lib.errors import GroundworkError, Problem
from lib.facts import cluster as facts
from lib.steps import rights
from lib.steps.session import Session

OLDEST = (8, 4)
GIB = 2**30


class HostSeen(msgspec.Struct, frozen=True):
    """One host from near: what only a slow look shows. `skew` is seconds ahead of this machine."""

    name: str
    version: tuple[int, int]
    bridges: frozenset[str]
    addresses: frozenset[str]
    skew: float
    hostname: str
    gateway_answers: bool
    names_resolve: bool
    taken: tuple[str, ...]
    failed: Problem | None = None


class Deep(msgspec.Struct, frozen=True):
    """The slow half of the checks."""

    hosts: tuple[HostSeen, ...]
    addresses_used: tuple[tuple[str, int], ...]

    @property
    def skew(self) -> float:
        """The middle one of the hosts' clocks, in seconds ahead of this machine."""
        told = sorted(host.skew for host in self.hosts if host.failed is None) or [0.0]
        return told[(len(told) - 1) // 2]


class Seen(msgspec.Struct, frozen=True):
    """The cluster as it is; `deep` is None where a recent slow check is relied on.

    `backups` are the storages that take backups, looked at only where one is asked for.
    """

    version: tuple[int, int]
    url: str
    membership: facts.Membership
    guests: tuple[facts.Guest, ...]
    storage: dict[str, facts.StorageSeen]
    memory: int
    ceph: facts.Ceph
    deep: Deep | None
    backups: tuple[str, ...] = ()


class Validated(msgspec.Struct, frozen=True):
    """What later steps may rely on: the PVE version that answers, and the URL that it answers at."""

    version: tuple[int, int]
    url: str


class Validation(Step[Session, Seen, Cluster, Validated]):
    """Check that hosts, network, storage and rights are as cluster.toml says. API: /cluster, /nodes."""

    name: ClassVar[str] = "validation"
    max_age: ClassVar[float | None] = 86400.0
    checks_only: ClassVar[bool] = True

    def __init__(self, cluster: Cluster, backup: str = "") -> None:
        self._cluster = cluster
        self._needs = rights.administrator(cluster, backup)
        self._backup = backup

    def desired(self, inputs: Inputs) -> Cluster:
        """Want what cluster.toml says."""
        return self._cluster

    def observe(self, at: Session, recent: bool) -> Seen:
        """Prove the administrator's rights; look at the cluster's collections; and, unless lately, at each host.

        Whoever may not look at something finds it missing, so what he lacks is told first, and alone.
        """
        paths = ("/cluster/resources", "/version", "/cluster/status", "/cluster/ceph/status")
        _, resources, version, status, ceph = together(
            partial(rights.prove_administrator, at.pve, self._needs, exact=not recent),
            *(partial(at.pve.once, path) for path in paths),
        )
        guests = facts.guests(resources)
        return Seen(
            version=facts.version(version),
            url=at.pve.url,
            membership=facts.membership(status),
            guests=guests,
            storage=facts.storages(resources, self._cluster.proxmox.storage),
            memory=facts.memory(resources),
            ceph=facts.ceph(ceph),
            deep=None if recent else self._deep(at, guests),
            backups=self._backups(at),
        )

    def _backups(self, at: Session) -> tuple[str, ...]:
        rows = at.pve.once("/storage") if self._backup else ()
        return tuple(sorted({str(row["storage"]) for row in rows if "backup" in str(row.get("content")).split(",")}))

    # ------------------------------------------------------------ the slow half

    def _deep(self, at: Session, guests: tuple[facts.Guest, ...]) -> Deep:
        hosts = self._cluster.proxmox.hosts
        pairs = zip(hosts, self._shares(guests), strict=True)
        seen = together(*(partial(self._host, at, host, share) for host, share in pairs))
        return Deep(
            hosts=tuple(seen),
            addresses_used=tuple(self._configured(at, guests)),
        )

    def _addresses(self) -> dict[str, str]:
        """Return the addresses that guests and services of ours have or will have, each with its key."""
        return {address: _key(*where) for where, address, _, home in users(self._cluster) if home != "hosts"}

    def _shares(self, guests: tuple[facts.Guest, ...]) -> list[list[str]]:
        """Deal the addresses that nobody may answer on yet out over the hosts."""
        ours = {guest.vmid for guest in guests if self._cluster.proxmox.tag in guest.tags}
        free = [] if ours & {g.vmid for g in self._cluster.guests()} else list(self._addresses())
        count = len(self._cluster.proxmox.hosts)
        return [free[index::count] for index in range(count)]

    def _host(self, at: Session, host: Host, addresses: list[str]) -> HostSeen:
        try:
            shell = at.hosts.on(host.address)
            shell.connect()  # else the clock would be compared with the middle of the connecting
            anything = frozenset(range(256))
            name = urlsplit(self._cluster.images.cloud.url).hostname or self._cluster.dns.domain
            network, skew, told, version, gateway, resolves, *answers = together(
                partial(at.pve.get, f"/nodes/{host.name}/network"),
                partial(self._skew, shell),
                partial(shell.run, read("hostname")),
                partial(shell.run, read("pveversion")),
                partial(shell.run, read("ping", "-c", "1", "-W", "2", self._cluster.network.gateway, ok=anything)),
                partial(shell.run, read("getent", "ahosts", name, timeout=15, ok=anything)),
                *(partial(shell.run, read("ping", "-c", "1", "-W", "1", a, ok=anything)) for a in addresses),
            )
            return HostSeen(
                name=host.name,
                version=facts.version_of_tool(version.stdout),
                bridges=frozenset(str(n["iface"]) for n in network if n.get("type") in ("bridge", "OVSBridge")),
                addresses=frozenset(str(n["cidr"]) for n in network if n.get("cidr")),
                skew=skew,
                hostname=told.stdout.strip(),
                gateway_answers=gateway.exit == 0,
                names_resolve=resolves.exit == 0,
                taken=tuple(a for a, answer in zip(addresses, answers, strict=True) if answer.exit == 0),
            )
        except GroundworkError as error:
            nothing: frozenset[str] = frozenset()
            return HostSeen(host.name, (0, 0), nothing, nothing, 0.0, "", False, False, (), error.report)

    @staticmethod
    def _skew(shell: Shell) -> float:
        """Return the seconds that a host is ahead of us, against our own time in the middle of asking."""
        asked = time.time()
        told = shell.run(read("date", "+%s.%N")).stdout
        return float(told) - (asked + time.time()) / 2

    def _configured(self, at: Session, guests: tuple[facts.Guest, ...]) -> Iterator[tuple[str, int]]:
        """Yield (address, VMID) of foreign guests that were given one of our addresses in their configuration."""
        wanted = self._addresses()
        foreign = [guest for guest in guests if self._cluster.proxmox.tag not in guest.tags]
        paths = (f"/nodes/{guest.node}/{guest.kind}/{guest.vmid}/config" for guest in foreign)
        configs = together(*(partial(at.pve.get, path) for path in paths))
        for guest, config in zip(foreign, configs, strict=True):
            yield from ((address, guest.vmid) for address in facts.fixed_addresses(config) if address in wanted)

    # ------------------------------------------------------------- judgement

    def changes(self, seen: Seen, wanted: Cluster) -> Iterator[Change]:
        """Validation changes nothing."""
        return iter(())

    def problems(self, seen: Seen, wanted: Cluster) -> Iterator[Problem]:
        """Yield everything that is not as it must be."""
        yield from self._cluster_problems(seen)
        yield from self._storage_problems(seen)
        yield from self._guest_problems(seen)
        if seen.deep is not None:
            for host in seen.deep.hosts:
                yield from self._host_problems(host, seen.deep.skew)

    def _cluster_problems(self, seen: Seen) -> Iterator[Problem]:
        if seen.version < OLDEST:
            got = ".".join(map(str, seen.version))
            yield Problem("Proxmox VE", f"is too old (got {got}, want 8.4 or newer)", "upgrade the hosts first")
        if not seen.membership.quorate:
            yield Problem("cluster", "has no quorum", "bring the missing hosts back: `pvecm status` on any host")
        for index, host in enumerate(self._cluster.proxmox.hosts):
            if host.name not in seen.membership.nodes:
                have = ", ".join(sorted(seen.membership.nodes))
                problem = f"is no node of this cluster (it has {have})"
                key = _key("proxmox", "hosts", index, "name")
                yield Problem(host.name, problem, "mend proxmox.hosts in cluster.toml", key)
            elif host.name not in seen.membership.online:
                yield Problem(
                    host.name, "is offline", f"start it, or look at `systemctl status corosync` on {host.address}"
                )

    def _storage_problems(self, seen: Seen) -> Iterator[Problem]:
        name, limit = self._cluster.proxmox.storage, self._cluster.proxmox.near_full_percent
        for host in self._cluster.proxmox.hosts:
            state = seen.storage.get(host.name)
            if state is None or state.status != "available":
                got = "missing" if state is None else state.status
                problem, fix = f"is not available on {host.name} (got {got})", f"`pvesm status` on {host.name}"
                yield Problem(f"storage {name}", problem, fix, "proxmox.storage")
        if self._backup and self._backup not in seen.backups:
            there = ", ".join(seen.backups) or "there is none: allow `backup` in some storage's content"
            yield Problem(f"storage {self._backup}", "takes no backups", f"--backup with one that does: {there}")
        if seen.ceph.health == "HEALTH_ERR":
            yield Problem(
                "Ceph",
                f"is not healthy ({', '.join(seen.ceph.checks) or seen.ceph.health})",
                "`ceph health detail` on any host",
            )
        if seen.ceph.used_percent >= limit:
            yield Problem(
                "Ceph",
                f"is near full (got {seen.ceph.used_percent:.0f} %, want below {limit} %)",
                "free space, or add OSDs",
                "proxmox.near_full_percent",
            )
        yield from self._room(seen)

    def _room(self, seen: Seen) -> Iterator[Problem]:
        there = {guest.vmid for guest in seen.guests}
        coming = [guest for guest in self._cluster.guests() if guest.vmid not in there]
        disk = sum(guest.disk_gib for guest in coming)
        if self._cluster.images.base.vmid not in there:
            disk += self._cluster.images.base.disk_gib
        states = list(seen.storage.values())
        free = (states[0].size - states[0].used) // GIB if states else 0
        if states and disk > free:
            yield Problem(
                f"storage {self._cluster.proxmox.storage}",
                f"has no room for what is to come (got {free} GiB free, want {disk} GiB)",
                "make disks or counts smaller in cluster.toml, or add OSDs",
            )
        need = sum(guest.memory_gib for guest in self._cluster.guests())
        if seen.memory and need > seen.memory // GIB:
            yield Problem(
                "memory", f"does not suffice (got {seen.memory // GIB} GiB, want {need} GiB)", "make the guests smaller"
            )

    def _guest_problems(self, seen: Seen) -> Iterator[Problem]:
        ours = {vmid: (_key(*where), name) for where, vmid, name in vmids(self._cluster)}
        for guest in seen.guests:
            made = guest.lock == "create"  # whose it is shows when it is done
            if guest.vmid in ours and self._cluster.proxmox.tag not in guest.tags and not made:
                key, name = ours[guest.vmid]
                yield Problem(
                    f"VM {guest.vmid}",
                    f"is somebody else's ('{guest.name}' on {guest.node}, "
                    f"without our tag '{self._cluster.proxmox.tag}')",
                    f"give '{name}' another VMID in cluster.toml; foreign guests are never touched",
                    key,
                    refused=True,
                )
        keys = self._addresses()
        for address, vmid in seen.deep.addresses_used if seen.deep else ():
            problem = f"is configured on somebody else's VM {vmid}"
            yield Problem(address, problem, "choose another address in cluster.toml", keys[address])

    def _host_problems(self, host: HostSeen, middle: float) -> Iterator[Problem]:
        if host.failed is not None:
            yield host.failed
            return
        network = self._cluster.network
        if host.hostname.partition(".")[0] != host.name:
            names = [each.name for each in self._cluster.proxmox.hosts]
            key = _key("proxmox", "hosts", names.index(host.name), "address")
            problem = f"answers under another name (got {host.hostname})"
            yield Problem(host.name, problem, "mend its address in cluster.toml", key)
        if host.version < OLDEST:
            got = ".".join(map(str, host.version))
            yield Problem(host.name, f"Proxmox VE is too old (got {got}, want 8.4 or newer)", "upgrade it first")
        if self._cluster.proxmox.bridge not in host.bridges:
            have = ", ".join(sorted(host.bridges)) or "none"
            yield Problem(
                host.name,
                f"has no bridge {self._cluster.proxmox.bridge} (got {have})",
                "make it there, or mend proxmox.bridge in cluster.toml",
                "proxmox.bridge",
            )
        most = self._cluster.proxmox.max_clock_skew_seconds
        if abs(host.skew - middle) > most:
            yield Problem(
                host.name,
                f"its clock is off (got {host.skew - middle:+.0f} s from the middle one, want within {most} s)",
                "`chronyc tracking` there",
            )
        if not host.gateway_answers:
            problem = f"gets no answer from the gateway {network.gateway}"
            yield Problem(host.name, problem, "check network.gateway and the cabling", "network.gateway")
        if not host.names_resolve and not self._cluster.images.cloud.file:
            fix = f"check /etc/resolv.conf there ({', '.join(network.nameservers)})"
            yield Problem(host.name, "cannot resolve names", fix, "network.nameservers")
        keys = self._addresses()
        for address in host.taken:
            problem, fix = "answers already, and is no guest of ours", "choose another address in cluster.toml"
            yield Problem(address, problem, fix, keys[address])
        wanted = ipaddress.ip_network(network.cidr)
        if host.addresses and not any(ipaddress.ip_interface(a).network == wanted for a in host.addresses):
            have = ", ".join(sorted(host.addresses))
            problem = f"is in another network (got {have}, want {network.cidr})"
            yield Problem(host.name, problem, "mend network.cidr in cluster.toml", "network.cidr")

    def remarks(self, seen: Seen) -> Iterator[str]:
        """Yield mixed versions and Ceph's warnings."""
        versions = {host.version for host in seen.deep.hosts if not host.failed} if seen.deep else set()
        if len(versions) > 1:
            yield "hosts run different versions: " + ", ".join(sorted(".".join(map(str, v)) for v in versions))
        skew = seen.deep.skew if seen.deep else 0.0
        if abs(skew) > self._cluster.proxmox.max_clock_skew_seconds:
            yield f"the hosts' clocks are {skew:+.0f} s from this machine's: one of them is wrong"
        if seen.ceph.health == "HEALTH_WARN":
            yield f"Ceph warns: {', '.join(seen.ceph.checks) or 'see `ceph health detail`'}"

    def apply(self, at: Session, seen: Seen, wanted: Cluster) -> None:
        """Do nothing: a check has nothing to apply."""

    def output(self, seen: Seen, wanted: Cluster) -> Validated:
        """Give the version."""
        return Validated(seen.version, seen.url)

    def reason(self, seen: Seen, wanted: Cluster) -> str:
        """Say what was looked at."""
        version = ".".join(map(str, seen.version))
        storage, hosts = wanted.proxmox.storage, len(wanted.proxmox.hosts)
        return f"{hosts} hosts, PVE {version}, quorum, storage {storage}, {seen.ceph.health}"


def _key(*where: str | int) -> str:
    return ".".join(map(str, where))
