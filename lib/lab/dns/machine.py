"""Own what the name server of cluster.toml is when the lab is new: a small Debian host with dnsmasq or BIND, running.

Nothing of ours is in it, and something of somebody else's is.
"""

from __future__ import annotations

import posixpath
import time

from lib.config.model import Cluster
from lib.lab.dns import service
from lib.lab.faults import Faults
from lib.lab.files import Files, make_filesystem
from lib.lab.keys import Keys
from lib.lab.programs.host import Host
from lib.lab.world import Document, World

FOLDERS = ("/etc/init.d", "/etc/systemd/system", "/home", "/root/.ssh", "/run", "/tmp", "/usr/bin", "/var/tmp")
MAIN = {"dnsmasq": "/etc/dnsmasq.conf", "bind": "/etc/bind/named.conf"}
PACKAGES = {
    "dnsmasq": {"dnsmasq": "2.90-4", "dnsmasq-base": "2.90-4"},
    "bind": {"bind9": "1:9.18.33-1", "bind9-utils": "1:9.18.33-1"},
}
UPSTREAM = "198.51.100.53"
SOMEBODY_ELSES = """# Written by the provisioning of the network. Not ours.
host-record=switch.provisioning.invalid,192.0.2.2,600
cname=boot.provisioning.invalid,switch.provisioning.invalid
"""
OPTIONS = """options {
	directory "/var/cache/bind";
	dnssec-validation auto;
	listen-on-v6 { any; };
};
"""
DEFAULT_ZONES = """zone "." {
	type hint;
	file "/usr/share/dns/root.hints";
};
zone "localhost" {
	type master;
	file "/etc/bind/db.local";
};
zone "127.in-addr.arpa" {
	type master;
	file "/etc/bind/db.127";
};
"""
LOCAL_ZONE = """$TTL 604800
@ IN SOA localhost. root.localhost. ( 2 604800 86400 2419200 604800 )
@ IN NS localhost.
"""


def name_of(cluster: Cluster, taken: list[str]) -> str:
    """Return what the host is called: as in the zones, and as no other host."""
    name = cluster.dns.nameserver
    while name in taken:
        name += "-dns"
    return name


def build(world: World, cluster: Cluster, keys: Keys) -> None:
    """Make the name server; one that is a Proxmox host, too, keeps what it has."""
    dns = cluster.dns
    node = next((one["name"] for one in world.all("node").values() if one["address"] == dns.server), None)
    name = node or name_of(cluster, world.keys("node"))
    users = {"root", dns.user} if node else {dns.user}
    machine = {"name": name, "address": dns.server, "backend": dns.backend, "service": dns.service}
    world.put("nameserver", name, machine | {"main": MAIN[dns.backend], "users": sorted(users), "online": True})
    if node is None:
        _system(world, name)
    host = Host(world, name, None, Faults(world))
    unit = {"enabled": True, "active": True}
    system = host.system()
    host.change(
        packages=system["packages"] | PACKAGES[dns.backend],
        units=system["units"] | {f"{dns.service}.service": unit},
    )
    files = host.files
    if dns.user != "root" and node is None:
        files.mkdir(f"/home/{dns.user}/.ssh", 0o700, parents=True)
        files.write(f"/home/{dns.user}/.ssh/authorized_keys", keys.root_public_key.encode(), 0o600)
    files.write("/root/.ssh/authorized_keys", keys.root_public_key.encode(), 0o600)
    for path, text in _content(cluster, name).items():
        files.mkdir(posixpath.dirname(path), parents=True)
        if not files.exists(path):
            files.write(path, text.encode())
    problem = service.start(host)
    assert not problem, problem


def _system(world: World, name: str) -> None:
    system: Document = {"packages": {"coreutils": "9.7-3"}, "units": {}, "mounts": {}, "mapped": {}, "ceph": False}
    system["units"]["ssh.service"] = {"enabled": True, "active": True}
    world.put("host", name, system)
    make_filesystem(world, name, time.time())
    files = Files(world, name)
    for folder in FOLDERS:
        files.mkdir(folder, parents=True)
    files.change("/root/.ssh", mode=0o700)
    files.change("/tmp", mode=0o1777)


def _content(cluster: Cluster, name: str) -> dict[str, str]:
    """Return the files: the system's, the back end's, and the empty one that BIND has been told to include."""
    dns = cluster.dns
    files = {
        "/etc/hostname": f"{name}\n",
        "/etc/hosts": f"127.0.0.1 localhost\n{dns.server} {name}\n",
        "/etc/resolv.conf": f"nameserver {UPSTREAM}\n",
        "/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n',
    }
    if dns.backend == "dnsmasq":
        folder = posixpath.dirname(dns.file)
        upstream = "" if dns.upstream else f"server={UPSTREAM}\n"
        dhcp = cluster.network.ranges.dhcp.replace(" ", "").replace("-", ",")
        files[MAIN["dnsmasq"]] = f"no-resolv\ndomain-needed\n{upstream}dhcp-range={dhcp},12h\nconf-dir={folder}\n"
        return files | {posixpath.join(folder, "provisioning.conf"): SOMEBODY_ELSES}
    own = {
        MAIN["bind"]: "".join(
            f'include "{path}";\n'
            for path in (
                "/etc/bind/named.conf.options",
                "/etc/bind/named.conf.local",
                "/etc/bind/named.conf.default-zones",
            )
        ),
        "/etc/bind/named.conf.options": OPTIONS,
        "/etc/bind/named.conf.local": "// Zones of this place.\n",
        "/etc/bind/named.conf.default-zones": DEFAULT_ZONES,
        "/etc/bind/db.local": f"{LOCAL_ZONE}@ IN A 127.0.0.1\n@ IN AAAA ::1\n",
        "/etc/bind/db.127": f"{LOCAL_ZONE}1.0.0 IN PTR localhost.\n",
    }
    if dns.file not in own:
        own["/etc/bind/named.conf.local"] += f'include "{dns.file}";\n'
        own[dns.file] = "// Empty: nothing was deployed here yet.\n"
    return files | own
