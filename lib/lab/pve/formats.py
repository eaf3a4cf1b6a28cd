"""Own the named formats of parameters: what a valid node name, storage id, VM id … is, and the complaint if not."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable


def split_list(text: str) -> list[str]:
    """Split a list parameter at commas, semicolons, blanks or NULs."""
    return [item for item in re.split(r"[,;\0\s]+", text) if item]


def _matching(pattern: str, complaint: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        if not re.fullmatch(pattern, value):
            raise ValueError(complaint.format(value))

    return check


def _network(version: int, words: tuple[str, ...] = ()) -> Callable[[str], None]:
    def check(value: str) -> None:
        address, slash, length = value.partition("/")
        if value in words:
            return
        with contextlib.suppress(ValueError):
            ip = ipaddress.ip_address(address)
            if slash and length.isdigit() and version in (0, ip.version) and 7 < int(length) <= ip.max_prefixlen:
                return
        kind = f"IPv{version} CIDR" if version else "CIDR"
        what = f"ipv{version} network configuration" if words else f"{kind} network"
        raise ValueError(f"value does not look like a valid {what}")

    return check


def _ip(version: int, also: str = "") -> Callable[[str], None]:
    def check(value: str) -> None:
        with contextlib.suppress(ValueError):
            if version in (0, ipaddress.ip_address(value).version):
                return
        if also and re.fullmatch(_DNS_NAME, value):
            return
        name = f"IPv{version} address" if version else "IP address"
        raise ValueError(also.format(value) or f"value does not look like a valid {name}")

    return check


def _hotplug(value: str) -> None:
    if value in ("0", "1"):
        return
    for feature in split_list(value):
        if not re.fullmatch(r"network|disk|cpu|memory|usb|cloudinit", feature):
            raise ValueError(f"invalid hotplug feature '{feature}'")
    if not split_list(value):
        raise ValueError("unable to parse hotplug option")


def _userid(value: str) -> None:
    if len(value) < 3:
        raise ValueError(f"user name '{value}' is too short")
    if len(value) > 64:
        raise ValueError(f"user name '{value}' is too long ({len(value)} > 64)")
    if not re.fullmatch(rf"[^\s:/]+@{_REALM}", value):
        raise ValueError(f"value '{value}' does not look like a valid user name")


def _startup(value: str) -> None:
    parts = [part for part in value.split(",") if part.strip()]
    if value in ("", "0") or not all(re.fullmatch(r"(order=)?\d+|(up|down)=\d+", part) for part in parts):
        raise ValueError("unable to parse startup options")


def _storage_pair(value: str) -> None:
    for name in value.split(":"):
        try:
            FORMATS["storage-id"](name)
        except ValueError as complaint:
            raise ValueError(f"entry '{value}' contains invalid ID - {complaint}\n\n") from None


_DNS_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DNS_NAME = rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*"
_CONFIG_ID = r"[a-zA-Z][a-zA-Z0-9_-]+"
_STORAGE_ID = r"[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]"
_REALM = r"[A-Za-z][A-Za-z0-9.\-_]+"
_MAIL_USER = r"[\w+~-]+(\.[\w+~-]+)*"
_MAIL = rf"{_MAIL_USER}@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*"
_DISK = r"ide[0-3]|sata[0-5]|scsi([0-9]|[12][0-9]|30)|virtio([0-9]|1[0-5])"
_TAG = r"(?i:[a-z0-9_][a-z0-9_\-\+\.]*)"
_COLOR = rf"(?:{_TAG}:[0-9a-fA-F]{{6}}(?::[0-9a-fA-F]{{6}})?)"
_ANY = _matching(r"(?s:.*)", "")  # the real check is not known here

# By the official name, without its `pve-`; the complaints are those of pve-common, pve-access-control, pve-storage
# and qemu-server, where they are registered.
FORMATS: dict[str, Callable[[str], None]] = {
    "string": _ANY,
    "vmid": _matching(r"[1-9][0-9]{2,8}", "value does not look like a valid VM ID"),
    "node": _matching(_DNS_LABEL, "value does not look like a valid node name"),
    "dns-name": _matching(_DNS_NAME, "value does not look like a valid DNS name"),
    "storage-id": _matching(_STORAGE_ID, "storage ID '{}' contains illegal characters"),
    "storage-path": _matching(r"/[^;()][\s\S]*", "value does not look like a valid absolute path"),
    "storage-content": _matching("images|rootdir|vztmpl|iso|backup|snippets|import|none", "invalid content type '{}'"),
    "storage-server": _ip(0, "value does not look like a valid server name or IP address"),
    "storage-vgname": _matching(r"(?i:[a-z0-9][a-z0-9\-_.]*[a-z0-9])", "lvm name '{}' contains illegal characters"),
    "storage-options": _ANY,
    "storage-portal-dns": _ANY,
    "storage-zfs-blocksize": _ANY,
    "dir-override": _matching(r"[a-z]+=.+", "invalid override '{}'"),
    "storage-pair": _storage_pair,
    "userid": _userid,
    "tokenid": _matching(rf"[^\s:/]+@{_REALM}!{_REALM}", "value '{}' does not look like a valid token ID"),
    "groupid": _matching(r"[A-Za-z0-9.\-_]+", "group name '{}' contains invalid characters"),
    "roleid": _matching(r"[A-Za-z0-9.\-_]+", "role name '{}' contains invalid characters"),
    "realm": _matching(_REALM, "value does not look like a valid realm"),
    "poolid": _matching(r"[A-Za-z0-9.\-_]+(/[A-Za-z0-9.\-_]+){0,2}", "pool name '{}' contains invalid characters"),
    "configid": _matching(_CONFIG_ID, "invalid configuration ID '{}'"),
    "bridge-id": _matching(r"[-_.\w]+", "invalid bridge ID '{}'"),
    "iface": _matching(r"(?i:[a-z][a-z0-9_]{1,20}([:.]\d+)?)", "invalid network interface name '{}'"),
    "urlencoded": _matching(r"[-%a-zA-Z0-9_.!~*'()]*", "invalid urlencoded string: {}"),
    "email": _matching(_MAIL, "value does not look like a valid email address"),
    "email-or-username": _matching(
        rf"{_MAIL}|{_MAIL_USER}", "value does not look like a valid email address or user name"
    ),
    "address": _ip(0, "value does not look like a valid address: {}"),
    "ip": _ip(0),
    "ipv4": _ip(4),
    "ipv6": _ip(6),
    "CIDR": _network(0),
    "CIDRv4": _network(4),
    "CIDRv6": _network(6),
    "ipv4-config": _network(4, ("dhcp", "manual")),
    "ipv6-config": _network(6, ("auto", "dhcp", "manual")),
    "timezone": _matching(r"UTC|[A-Z][A-Za-z_+-]*/[A-Za-z0-9_+/-]+", "invalid time zone '{}'"),
    "volume-id": _matching(rf"{_STORAGE_ID}:\S.*", "unable to parse volume ID '{}'"),
    "volume-id-or-qm-path": _matching(rf"none|cdrom|/.*|{_STORAGE_ID}:\S.*", "unable to parse volume ID '{}'"),
    "volume-id-or-absolute-path": _matching(rf"/.*|{_STORAGE_ID}:\S.*", "unable to parse volume ID '{}'"),
    "disk-size": _matching(r"\d+(\.\d+)?[KMGT]?", "value does not look like a valid disk size: {}"),
    "mac-addr": _matching(
        r"(?i:[a-f0-9][02468ace](:[a-f0-9]{2}){5})", "value does not look like a valid unicast MAC address"
    ),
    "tag": _matching(_TAG, "invalid characters in tag"),
    "qm-bootdisk": _matching(_DISK, "invalid boot disk '{}'"),
    "qm-bootdev": _matching(
        rf"{_DISK}|net([0-9]|[12][0-9]|3[01])|usb([0-9]|1[0-3])|hostpci([0-9]|1[0-5])", "invalid boot device '{}'"
    ),
    "hotplug-features": _hotplug,
    "startup-order": _startup,
    "phys-bits": _matching(r"host|[89]|[1-5]\d|6[0-4]", "value must be an integer between 8 and 64 or 'host'"),
    "cpuset": _matching(r"[\d,\- ]+", "unable to parse cpuset option"),
    "task-status-type": _matching(r"(?i:ok|error|warning|unknown)", "invalid status '{}'"),
    "ldap-simple-attr": _matching(r"[a-zA-Z0-9]+", "value '{}' does not look like a simple ldap attribute name"),
    "mac-prefix": _matching(
        r"(?i:[a-f0-9][02468ace](?::[a-f0-9]{2}){0,2}:?)", "value is not a valid unicast MAC address prefix"
    ),
    "node-location": _ANY,
    "day-of-week": _matching(r"(?i:mon|tue|wed|thu|fri|sat|sun)", "invalid day '{}'"),
    "calendar-event": _matching(r"\S.*", "invalid calendar event '{}'"),
    "replication-job-id": _matching(r"[1-9][0-9]{2,8}-\d{1,9}", "invalid replication job id '{}'"),
    "sdn-zone-id": _matching(r"[a-zA-Z][a-zA-Z0-9]*[a-zA-Z0-9]", "zone ID '{}' contains illegal characters"),
    "sdn-vnet-id": _matching(r"[a-zA-Z][a-zA-Z0-9]*[a-zA-Z0-9]", "vnet ID '{}' contains illegal characters"),
    "ha-resource-or-vm-id": _matching(r"(?i:[a-z]+:\S+|\d+)", "value does not look like a valid ha resource id"),
}

# Where the schema has a bare pattern there is no complaint of its own: "value does not match the regex pattern".
_PCI = r"(?:[a-f0-9]{4,}:)?[a-f0-9]{2}:[a-f0-9]{2}(?:\.[a-f0-9])?"
PATTERNS = {
    "token-subid": r"(?:[A-Za-z][A-Za-z0-9\.\-_]+)",
    "identity": r"(?:^(?:[^\s:/]+)\@(?:[A-Za-z][A-Za-z0-9\.\-_]+)(?:!(?:[A-Za-z][A-Za-z0-9\.\-_]+))?$)",
    "url": r"https?://.*",
    "log-time": r"^\d{4}-\d{2}-\d{2}( \d{2}:\d{2}(:\d{2})?)?$",
    "resize": r"\+?\d+(\.\d+)?[KMGT]?",
    "serial": r"(/dev/[^,]+|socket)",
    "serial-of-8": r"(/dev/.+|socket)",
    "parallel": r"/dev/parport\d+|/dev/usb/lp\d+",
    "startdate": r"(now|\d{4}-\d{1,2}-\d{1,2}(T\d{1,2}:\d{1,2}:\d{1,2})?)",
    "host-mtus": r"net\d+=\d+(,net\d+=\d+)*",
    "totp-keys": r"[0-9a-zA-Z!=]{0,4096}",
    "machine-type": r"(pc|pc(-i440fx)?-\d+(\.\d+)+(\+pve\d+)?(\.pxe)?|q35|pc-q35-\d+(\.\d+)+(\+pve\d+)?(\.pxe)?"
    r"|virt(?:-\d+(\.\d+)+)?(\+pve\d+)?)",
    "uuid": r"(?:[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}|[01])",
    "uuid-of-board": r"[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}",
    "base64-text": r"[A-Za-z0-9+/]+={0,2}",
    "pci-addresses": rf"{_PCI}(;{_PCI})*",
    "pci-id": r"0x[0-9a-fA-F]{4}",
    "rom-file": r"[^,;]+",
    "mediated-type": r"[^/.:]+",
    "wwn": r"(?:^(0x)[0-9a-fA-F]{16})",
    "scsi-vendor": r"[A-Za-z0-9\-_\s]{,8}",
    "scsi-product": r"[A-Za-z0-9\-_\s]{,16}",
    "vlan-trunks": r"(?:\d+(?:-\d+)?(?:;\d+(?:-\d+)?)*)",
    "shm-name": r"[a-zA-Z0-9\-]+",
    "fingerprint": r"([A-Fa-f0-9]{2}:){31}[A-Fa-f0-9]{2}",
    "upload-name": r"/var/tmp/pveupload-[0-9a-f]+",
    "usb-device": (
        r"(?:(?:(?:(?:(0x)?([0-9A-Fa-f]{4}):(0x)?([0-9A-Fa-f]{4})))|(?:(?:(\d+)\-(\d+(\.\d+)*)))|[Ss][Pp][Ii][Cc][Ee]))"
    ),
    "boot-letters": r"[acdn]{1,4}",
    "cpu-flags": r"[+-][^\s,;]+(;[+-][^\s,;]+)*",
    "hv-vendor": r"[a-zA-Z0-9]{1,12}",
    "plain-text": r"""^[^\x00-\x1F\x7F <>#"]*$""",
    "group-claim": r"(?:[A-Za-z0-9\.\-_]+)",
    "login-prompt": r"(?:none|login|consent|select_account|\S+)",
    "ldap-attributes": r"\w+=[^,]+(,\s*\w+=[^,]+)*",
    "ldap-name": r"\S{2,}",
    "vanished": r"(?:(?:(?:acl|properties|entry);)*(?:acl|properties|entry))|none",
    "sdn-name": r"[a-zA-Z][a-zA-Z0-9]*[a-zA-Z0-9]",
    "http-proxy": r"http://.*",
    "tag-words": rf"(?:{_TAG};)*{_TAG}",
    "tag-names": rf"{_TAG}(?:;{_TAG})*",
    "tag-colors": rf"{_COLOR}(?:;{_COLOR})*",
    "day-time": r"\d{1,2}:\d{1,2}",
    "disk-amount": r"\d+[MG]?",
    "job-id": r"\S+",
    "journal-priority": r"^([0-7](\.\.[0-7])?)?$",
    "journal-service": r"^[A-Za-z0-9_.@:*?!\[\]\/-]+$",
    "journal-unit": r"^[A-Za-z0-9_.@:-]+$",
}
