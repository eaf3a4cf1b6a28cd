"""Own what a bare simulated cluster looks like: hosts, Ceph pool, storages, bridge, and the internet it sees.

Built from the user's own cluster.toml. Nothing that a foundation makes is in it.
Users, roles and what the API does with all of it are in lib/lab/pve/.
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import re
import time
import uuid
from urllib.parse import urlsplit

import msgspec

from lib.config.addresses import users
from lib.config.model import Cluster, Host
from lib.lab.files import Files, make_filesystem
from lib.lab.keys import Keys
from lib.lab.world import Document, World

RELEASES = {
    "8.4": {"version": "8.4.14", "release": "8.4", "repoid": "b502d23c55afcba1", "kernel": "6.8.12-15-pve"},
    "9.2": {"version": "9.2.11", "release": "9.2", "repoid": "8694ab5d76111af7", "kernel": "6.18.44-1-pve"},
}
GIB = 1 << 30
CLOUD_IMAGE_BYTES = 625 << 20
CLOUD_IMAGE_VIRTUAL = 3758096384  # what Ubuntu's noble image says: 3.5 GiB
FOLDERS = (
    "/etc/apt/sources.list.d",
    "/etc/pve/nodes",
    "/etc/systemd/system/multi-user.target.wants",
    "/dev",
    "/mnt",
    "/root/.ssh",
    "/run",
    "/tmp",
    "/usr/bin",
    "/usr/share",
    "/var/tmp",
    "/var/lib/vz/dump",
    "/var/lib/vz/images",
    "/var/lib/vz/import",
    "/var/lib/vz/snippets",
    "/var/lib/vz/template/cache",
    "/var/lib/vz/template/iso",
)
PACKAGES = {
    "bash": "5.2.37-2+b5",
    "ceph-common": "19.2.3-pve2",
    "coreutils": "9.7-3",
    "e2fsprogs": "1.47.2-3+b3",
    "openssh-server": "1:10.0p1-7",
    "proxmox-ve": "9.2.0",
    "qemu-server": "9.2.8",
    "util-linux": "2.41-5",
}
SERVICES = ("corosync", "pve-cluster", "pvedaemon", "pveproxy", "pvestatd", "ssh", "chrony")
REACHABLE = ("deb.debian.org", "download.proxmox.com", "enterprise.proxmox.com")


class Shape(msgspec.Struct, frozen=True):
    """How the lab is made: PVE release ("8.4" or "9.2"), number of hosts (0: as in cluster.toml), speed of tasks."""

    pve: str = "9.2"
    hosts: int = 0
    task_scale: float = 0.05
    perverse: int | None = None


def hosts_of(cluster: Cluster, count: int = 0) -> list[Host]:
    """Return the hosts of cluster.toml, cut down or counted on to `count`."""
    hosts = list(cluster.proxmox.hosts)
    taken = {address for _, address, _, _ in users(cluster)}
    taken |= {cluster.network.gateway, cluster.dns.server, *cluster.network.nameservers}
    while len(hosts) < count:
        last = hosts[-1]
        stem, number = re.fullmatch(r"(.*?)(\d*)", last.name).groups()  # type: ignore[union-attr]
        following = (f"{stem}{index}" for index in itertools.count(int(number or 1) + 1))
        address = ipaddress.ip_address(last.address) + 1
        while str(address) in taken:
            address += 1
        names = [host.name for host in hosts]
        hosts.append(Host(name=next(name for name in following if name not in names), address=str(address)))
    return hosts[:count] if count else hosts


def build(world: World, cluster: Cluster, shape: Shape, keys: Keys) -> None:
    """Make the bare cluster in an empty world."""
    release = RELEASES[shape.pve]
    hosts = hosts_of(cluster, shape.hosts)
    now = time.time()
    meta: Document = {
        "pve": shape.pve,
        **release,
        "task_scale": shape.task_scale,
        "perverse": shape.perverse,
        "gateway": cluster.network.gateway,
        "cidr": cluster.network.cidr,
        "dhcp": cluster.network.ranges.dhcp,
        "nameservers": list(cluster.network.nameservers),
        "domain": cluster.dns.domain,
        "storage": cluster.proxmox.storage,
        "cluster_name": "lab",
        "internet": _internet(cluster),
    }
    world.put("meta", "lab", meta)
    world.put("meta", "ceph", _ceph(cluster, len(hosts)))
    for index, host in enumerate(hosts):
        _node(world, host, index + 1, cluster.proxmox.bridge, now)
        _system(world, host, shape.pve, keys, hosts, cluster)
    local = "snippets,vztmpl,rootdir,backup,images,iso" if shape.pve == "8.4" else "import,iso,vztmpl,backup"
    world.put("storage", "local", {"type": "dir", "path": "/var/lib/vz", "content": local})
    rbd = {"type": "rbd", "pool": cluster.tools_storage.ceph_pool, "content": "images,rootdir", "krbd": 0}
    world.put("storage", cluster.proxmox.storage, rbd)
    password = hashlib.sha256(keys.root_password.encode()).hexdigest()
    world.put("user", "root@pam", {"enable": 1, "expire": 0, "email": "root@localhost", "password_sha256": password})


def _ceph(cluster: Cluster, hosts: int) -> Document:
    total = hosts * 4 * 1920 * 10**9
    return {
        "fsid": str(uuid.uuid4()),
        "health": "HEALTH_OK",
        "checks": {},
        "pools": [".mgr", cluster.tools_storage.ceph_pool],
        "osds": hosts * 4,
        "bytes_total": total,
        "bytes_used": total // 20,
        "replicas": 3,
    }


def _internet(cluster: Cluster) -> Document:
    """Give the pinned cloud image, and the checksum files beside it and in the folder of the newest release."""
    url, digest = cluster.images.cloud.url, cluster.images.cloud.sha256
    folder, _, name = url.rpartition("/")
    sums = f"{digest} *{name}\n"
    text = {"size": len(sums), "sha256": hashlib.sha256(sums.encode()).hexdigest(), "text": sums}
    facts = {"format": "qcow2", "virtual_size": CLOUD_IMAGE_VIRTUAL, "packages": [], "machine_id": "uninitialized"}
    image = {"size": CLOUD_IMAGE_BYTES, "sha256": digest, "text": None, "facts": facts}
    internet: Document = {url: image, f"{folder}/SHA256SUMS": text}
    newest = folder.replace(f"/release-{cluster.images.cloud.release}", "/release")
    internet[f"{newest}/SHA256SUMS"] = text
    internet[f"{newest}/{name}"] = image
    return internet


def _node(world: World, host: Host, number: int, bridge: str, now: float) -> None:
    node: Document = {
        "name": host.name,
        "address": host.address,
        "nodeid": number,
        "online": True,
        "cpus": 32,
        "memory": 128 * GIB,
        "boot_time": int(now) - 86400 * 20 - number * 311,
        "bridges": [bridge],
        "nic": f"enp{number}s0",
        "mac": f"bc:24:11:00:00:{number:02x}",
        "clock_offset": 0.0,
    }
    world.put("node", host.name, node)


def _system(world: World, host: Host, pve: str, keys: Keys, hosts: list[Host], cluster: Cluster) -> None:
    """Give one host its system: packages, services, and the files that somebody may ask for."""
    services = (*SERVICES, f"ceph-mon@{host.name}")
    system: Document = {
        "packages": PACKAGES | {"pve-manager": RELEASES[pve]["version"]},
        "units": {f"{name}.service": {"enabled": True, "active": True} for name in services},
        "mounts": {},
        "mapped": {},
        "index_updated": False,
        "ceph": True,
    }
    world.put("host", host.name, system)
    make_filesystem(world, host.name)
    files = Files(world, host.name)
    for folder in FOLDERS:
        files.mkdir(folder, parents=True)
    for other in hosts:
        files.mkdir(f"/etc/pve/nodes/{other.name}/qemu-server", parents=True)
    files.change("/root/.ssh", mode=0o700)
    files.change("/tmp", mode=0o1777)
    for path, text in _content(host, pve, keys, hosts, cluster).items():
        files.write(path, text.encode(), 0o600 if path.startswith("/root") else 0o644)


def _content(host: Host, pve: str, keys: Keys, hosts: list[Host], cluster: Cluster) -> dict[str, str]:
    """Return the files of a host by path."""
    names = "".join(f"{each.address} {each.name}.{cluster.dns.domain} {each.name}\n" for each in hosts)
    servers = "".join(f"nameserver {address}\n" for address in cluster.network.nameservers)
    debian = "12 (bookworm)" if pve == "8.4" else "13 (trixie)"
    return {
        "/etc/hostname": f"{host.name}\n",
        "/etc/hosts": f"127.0.0.1 localhost\n{names}",
        "/etc/resolv.conf": f"search {cluster.dns.domain}\n{servers}",
        "/etc/machine-id": f"{uuid.uuid5(uuid.NAMESPACE_DNS, host.name).hex}\n",
        "/etc/os-release": f'PRETTY_NAME="Debian GNU/Linux {debian}"\nID=debian\n',
        "/etc/pve/pve-root-ca.pem": keys.ca,
        "/root/.ssh/authorized_keys": keys.root_public_key,
    }


def public_address(world: World, name: str) -> str | None:
    """Return the address of a name of the simulated internet, None where it has none."""
    if name not in reachable_names(world):
        return None
    return f"198.51.100.{1 + hashlib.sha256(name.encode()).digest()[0] % 250}"


def reachable_names(world: World) -> set[str]:
    """Return the host names of the simulated internet."""
    return {urlsplit(url).hostname or "" for url in world.lab.get("internet", {})} | set(REACHABLE)
