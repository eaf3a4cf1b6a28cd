"""Own what must hold of names, ids, forms and VMIDs in cluster.toml. Addresses have a file of their own.

Reads no file and prints nothing. A value that could not be read is empty here; no rule
speaks of another key because of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lib.config.addresses import addresses
from lib.config.guests import GROUPS, counted, group_of, vmids, written
from lib.config.model import Cluster

Where = tuple[str | int, ...]
Found = tuple[Where, str, str]
LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
STORAGE = re.compile(r"[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]")
USER = re.compile(r"[^\s:/@!]+@[A-Za-z][A-Za-z0-9._-]+")
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
TAG = re.compile(r"[a-z0-9_][a-z0-9_.+-]*")
BRIDGE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,14}")
LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
PATH = re.compile(r"/(?!\.)[A-Za-z0-9._@-]+(/(?!\.)[A-Za-z0-9._@-]+)*")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
VERSION = re.compile(r"\d+\.\d+\.\d+")
MAIL = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*@([a-z0-9.-]+)")
UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@-]*")
URL = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?/([^\s?#]*/)?[A-Za-z0-9][A-Za-z0-9._-]*(\?\S*)?")
CSI_VMID = 9999  # Proxmox CSI names its volumes vm-9999-pvc-…


def check(cluster: Cluster) -> Iterator[Found]:
    """Yield (path of the key, problem, fix) for every rule that is broken: of one key and rule the first alone."""
    told: set[tuple[Where, str]] = set()
    for where, problem, fix in _all(cluster):
        rule = (where, problem.split(" (")[0])
        if rule not in told:
            told.add(rule)
            yield where, problem, fix


def _all(cluster: Cluster) -> Iterator[Found]:
    yield from _hosts(cluster)
    yield from _words(cluster)
    yield from _paths_and_versions(cluster)
    yield from _names(cluster)
    yield from _name_server(cluster)
    yield from _groups(cluster)
    yield from _vmids(cluster)
    yield from addresses(cluster)


def _hosts(cluster: Cluster) -> Iterator[Found]:
    hosts = [host.name for host in cluster.proxmox.hosts]
    if not hosts:
        yield ("proxmox", "hosts"), "names no host", "one [[proxmox.hosts]] table a host"
    for index, name in enumerate(hosts):
        where: Where = ("proxmox", "hosts", index, "name")
        if not LABEL.fullmatch(name.lower()):
            yield where, f"is no DNS label (got {name!r})", "letters, digits and -, at most 63"
        if name.lower() in [other.lower() for other in hosts[:index]]:
            yield where, f"is there twice (got {name})", "give each host its own name"
    if not all(hosts):
        return  # a host whose name could not be read may be the one that is meant
    meant: list[tuple[Where, str]] = [(("tools_storage", "host"), cluster.tools_storage.host)]
    for name in GROUPS:
        machines = group_of(cluster, name).machines
        meant += [((name, "machines", i, "host"), machine.host) for i, machine in enumerate(machines) if machine.host]
    for where, host in meant:
        if hosts and host not in hosts:
            yield where, f"is none of the hosts (got {host!r})", f"one of {', '.join(hosts)}"


def _words(cluster: Cluster) -> Iterator[Found]:
    """Yield ids and names that Proxmox, Ceph or the guests would not take."""
    proxmox, tools, packer = cluster.proxmox, cluster.tools_storage, cluster.packer
    plain = "letters, digits, - _ ."
    for where, value, form, problem, fix in (
        (("proxmox", "storage"), proxmox.storage, STORAGE, "is no storage id", f"a letter, then {plain}"),
        (("tools_storage", "storage"), tools.storage, STORAGE, "is no storage id", f"a letter, then {plain}"),
        (("proxmox", "bridge"), proxmox.bridge, BRIDGE, "is no bridge", f"a letter, then {plain}, at most 15"),
        (("proxmox", "pool"), proxmox.pool, WORD, "has characters that are not allowed", plain),
        # Proxmox stores tags in lower case: another form would never be found again
        (("proxmox", "tag"), proxmox.tag, TAG, "is no tag", "lower-case letters, digits, - _ + ."),
        (("packer", "role"), packer.role, WORD, "has characters that are not allowed", plain),
        (("packer", "token"), packer.token, TOKEN, "is no token name", f"a letter, then {plain}"),
        (("packer", "user"), packer.user, USER, "is no user", "name@realm"),
        (("tools_storage", "image"), tools.image, WORD, "has characters that are not allowed", plain),
        (("tools_storage", "ceph_pool"), tools.ceph_pool, WORD, "has characters that are not allowed", plain),
        (("images", "user"), cluster.images.user, LOGIN, "is no login name", "lower-case letters, digits, - _"),
        (("dns", "user"), cluster.dns.user, LOGIN, "is no login name", "lower-case letters, digits, - _"),
        (("dns", "service"), cluster.dns.service, UNIT, "is no service", "the name of its systemd unit"),
    ):
        if not form.fullmatch(value):
            yield where, f"{problem} (got {value!r})", fix
    if proxmox.storage == tools.storage:
        fix = "an rbd storage takes no images: use another id"
        yield ("tools_storage", "storage"), f"is the guests' storage too (got {tools.storage})", fix
    if packer.role.lower().startswith("pve"):
        yield ("packer", "role"), f"starts with PVE, which is reserved (got {packer.role})", "choose another name"


def _paths_and_versions(cluster: Cluster) -> Iterator[Found]:
    cloud, kubernetes = cluster.images.cloud, cluster.kubernetes
    if not PATH.fullmatch(cluster.tools_storage.path):
        got = cluster.tools_storage.path
        yield ("tools_storage", "path"), f"is no absolute path (got {got!r})", "for example /mnt/images"
    if not PATH.fullmatch(cluster.dns.file):
        yield ("dns", "file"), f"is no absolute path (got {cluster.dns.file!r})", "the file on the name server"
    if not URL.fullmatch(cloud.url):
        fix = "https://host/folder/file.img; a file name of letters, digits, - _ ."
        yield ("images", "cloud", "url"), f"is no http(s) address of a file (got {cloud.url!r})", fix
    if not re.fullmatch(r"[0-9a-f]{64}", cloud.sha256):
        fix = "take it from the release's SHA256SUMS"
        yield ("images", "cloud", "sha256"), "is no SHA-256 (64 lower-case hexadecimal digits)", fix
    if not WORD.fullmatch(cloud.release):
        yield ("images", "cloud", "release"), f"has characters that are not allowed (got {cloud.release!r})", "its date"
    for index, package in enumerate(cloud.packages):
        if not PACKAGE.fullmatch(package):
            where = ("images", "cloud", "packages", index)
            yield where, f"is no package name (got {package!r})", "lower-case letters, digits, + - ."
    for key, value in (
        ("version", kubernetes.version),
        ("cilium", kubernetes.cilium),
        ("kube_vip", kubernetes.kube_vip),
    ):
        if not VERSION.fullmatch(value):
            yield ("kubernetes", key), f"is no version (got {value!r})", "three numbers with dots between them"


def _names(cluster: Cluster) -> Iterator[Found]:
    images, domain = cluster.images, cluster.dns.domain
    labels: list[tuple[Where, str]] = [
        (("images", "base", "name"), images.base.name),
        (("images", "golden", "name"), images.golden.name),
    ]
    for group in GROUPS:
        machines = group_of(cluster, group)
        labels += [((group, "machines", i, "name"), machine.name) for i, machine in written(machines)]
        labels += [((group, "name"), machine.name) for machine in counted(machines) if machine.name]
    labels += [(("kubernetes", "endpoint"), cluster.kubernetes.endpoint)]
    labels += [(("kubernetes", "aliases", i), name) for i, name in enumerate(cluster.kubernetes.aliases)]
    for where, name in labels:
        if not LABEL.fullmatch(name):
            yield where, f"is no DNS label (got {name!r})", "lower-case letters, digits and -, at most 63"
    services = cluster.platform.services.items()
    dotted: list[tuple[Where, str]] = [
        (("platform", "services", key, "name"), service.name) for key, service in services
    ]
    for where, name in [(("dns", "domain"), domain), *dotted]:
        if not is_name(name):
            yield where, f"is no DNS name (got {name!r})", "labels of lower-case letters, digits and -"
    for key, service in services:
        if service.wildcard and not (service.wildcard.startswith("*.") and is_name(service.wildcard[2:])):
            where = ("platform", "services", key, "wildcard")
            yield where, f"is no wildcard (got {service.wildcard!r})", "for example *.apps"
    seen = {host.name.lower() for host in cluster.proxmox.hosts}
    for where, name in [*labels, *dotted]:
        if name and name in seen:
            fix = "a counted name needs {n}" if where[-1] == "name" and len(where) == 2 else "every name is unique"
            yield where, f"is there twice (got {name})", fix
        seen.add(name)


def is_name(text: str) -> bool:
    """Tell whether the text is a host's DNS name in lower case, without a last dot."""
    return all(LABEL.fullmatch(part) for part in text.split(".")) and len(text) <= 253


def _name_server(cluster: Cluster) -> Iterator[Found]:
    """Yield what the zones of the chosen back end could not be written with."""
    dns = cluster.dns
    if not LABEL.fullmatch(dns.nameserver):
        fix = "lower-case letters, digits and -, at most 63"
        yield ("dns", "nameserver"), f"is no DNS label (got {dns.nameserver!r})", fix
    mail = MAIL.fullmatch(dns.contact)
    if dns.contact and not (mail and is_name(mail[1])):
        yield ("dns", "contact"), f"is no mail address (got {dns.contact!r})", "for example hostmaster@example.org"
    if dns.zones and not PATH.fullmatch(dns.zones):
        yield ("dns", "zones"), f"is no absolute path (got {dns.zones!r})", "the folder on the name server"
    if dns.config and not PATH.fullmatch(dns.config):
        yield ("dns", "config"), f"is no absolute path (got {dns.config!r})", "the server's own configuration file"
    if dns.upstream and dns.backend == "bind":
        fix = "name them under options in the server's own named.conf"
        yield ("dns", "upstream"), "is nothing that an included file can say to BIND", fix


def _groups(cluster: Cluster) -> Iterator[Found]:
    for name in GROUPS:
        group = group_of(cluster, name)
        for key in ("name", "first_vmid", "first_address") if group.count else ():
            if not getattr(group, key):
                yield (name, key), "is missing beside count", "or write each machine out in `machines`"
    planes = cluster.control_planes.count + len(cluster.control_planes.machines)
    if planes % 2 == 0:
        where = ("control_planes", "machines" if cluster.control_planes.machines else "count")
        problem = f"makes an even number of control planes (got {planes})"
        yield where, problem, "1, 3 or 5: etcd needs a majority"


def _vmids(cluster: Cluster) -> Iterator[Found]:
    seen: dict[int, str] = {}
    for where, vmid, who in vmids(cluster):
        if not 100 <= vmid <= 999_999_999:
            yield where, f"is no VMID (got {vmid} for {who})", "100 to 999999999"
        if vmid == CSI_VMID:
            yield where, f"is {CSI_VMID} ({who}), which Proxmox CSI names its volumes with", "choose another VMID"
        if vmid in seen and vmid:
            yield where, f"is there twice (got {vmid} for {who} and {seen[vmid]})", "a VMID has one owner"
        seen[vmid] = who
