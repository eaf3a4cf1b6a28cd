"""Own the named formats of parameters: what a valid node name, storage id, VM id … is, and the complaint if not."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

CONTENT_TYPES = ("images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import", "none")


def split_list(text: str) -> list[str]:
    """Split a list parameter at commas, semicolons, blanks or NULs."""
    return [item for item in re.split(r"[,;\0\s]+", text) if item]


def _matching(pattern: str, complaint: str) -> Callable[[str], None]:
    compiled = re.compile(pattern)

    def check(value: str) -> None:
        if not compiled.fullmatch(value):
            raise ValueError(complaint.format(value))

    return check


def _content(value: str) -> None:
    if value not in CONTENT_TYPES:
        raise ValueError(f"invalid content type '{value}'")


def _urlencoded(value: str) -> None:
    if not re.fullmatch(r"[-%a-zA-Z0-9_.!~*'()]*", value):
        raise ValueError(f"invalid urlencoded string: {value}")


def _email(value: str) -> None:
    if value and not re.fullmatch(r"[\w+~-]+(\.[\w+~-]+)*@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*", value):
        raise ValueError("value does not look like a valid email address")


def _address(value: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not _DNS_NAME.fullmatch(value):
            raise ValueError("value is not a valid IP address or hostname") from None


def _ip(value: str) -> None:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("value is not a valid IP address") from None


def _boot(value: str) -> None:
    for item in value.split(","):
        key, sign, _ = item.partition("=")
        if sign and key not in ("order", "legacy"):
            raise ValueError(
                f"format error\nboot.{key}: property is not defined in schema and the schema does not"
                " allow additional properties"
            )


def _ipconfig(value: str) -> None:
    for item in value.split(","):
        key, sign, setting = item.partition("=")
        if not sign or key not in ("ip", "gw", "ip6", "gw6"):
            raise ValueError(
                f"format error\nipconfig.{key}: property is not defined in schema and the schema does not"
                " allow additional properties"
            )
        if key == "ip" and setting != "dhcp":
            try:
                ipaddress.IPv4Interface(setting)
            except ValueError:
                raise ValueError(
                    "format error\nipconfig.ip: invalid format - value does not look like a valid ipv4"
                    " network configuration"
                ) from None


_DNS_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DNS_NAME = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*")
_CONFIG_ID = r"[a-zA-Z][a-zA-Z0-9_-]+"

FORMATS: dict[str, Callable[[str], None]] = {
    "vmid": _matching(r"[1-9][0-9]{2,8}", "value does not look like a valid VM ID"),
    "node": _matching(_DNS_LABEL, "value does not look like a valid node name"),
    "dns-name": _matching(_DNS_NAME.pattern, "value does not look like a valid DNS name"),
    "storage-id": _matching(r"[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]", "storage ID '{}' contains illegal characters"),
    "storage-path": _matching(r"/.*", "invalid path format"),
    "storage-content": _content,
    "userid": _matching(r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+", "value '{}' does not look like a valid user name"),
    "full-tokenid": _matching(
        r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+![A-Za-z][A-Za-z0-9.\-_]+", "value '{}' does not look like a valid token ID"
    ),
    "groupid": _matching(r"[A-Za-z0-9.\-_]+", "group name '{}' contains invalid characters"),
    "roleid": _matching(r"[A-Za-z0-9.\-_]+", "role name '{}' contains invalid characters"),
    "realm": _matching(r"[A-Za-z][A-Za-z0-9.\-_]+", "value does not look like a valid realm"),
    "priv": _matching(r".+", "invalid privilege '{}'"),
    "poolid": _matching(r"[A-Za-z0-9.\-_]+(/[A-Za-z0-9.\-_]+){0,2}", "pool name '{}' contains invalid characters"),
    "configid": _matching(_CONFIG_ID, "invalid configuration ID '{}'"),
    "bridge-id": _matching(r"[-_.\w]+", "invalid bridge ID '{}'"),
    "urlencoded": _urlencoded,
    "email-opt": _email,
    "address": _address,
    "ip": _ip,
    "volume-id": _matching(r"[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]:\S.*", "unable to parse volume ID '{}'"),
    "volume-or-path": _matching(
        r"none|cdrom|/.*|[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]:\S.*", "unable to parse volume ID '{}'"
    ),
    "disk-size": _matching(r"\d+(\.\d+)?[KMGT]?", "value does not look like a valid disk size: {}"),
    "mac-addr": _matching(
        r"(?i:[a-f0-9][02468ace](:[a-f0-9]{2}){5})", "value does not look like a valid unicast MAC address"
    ),
    "tag": _matching(r"(?i:[a-z0-9_][a-z0-9_\-+.]*)", "invalid characters in tag"),
    "boot": _boot,
    "ipconfig": _ipconfig,
    "cpu-conf": _matching(r"\S+", "invalid CPU configuration"),
    "startup-order": _matching(
        r"(order=)?\d+(,(up|down)=\d+)*|(up|down)=\d+(,(up|down)=\d+)*", "unable to parse startup options"
    ),
}

# Where the schema has a bare pattern there is no complaint of its own: "value does not match the regex pattern".
PATTERNS: dict[str, re.Pattern[str]] = {
    "tokenid": re.compile(r"[A-Za-z][A-Za-z0-9.\-_]+"),
    "identity": re.compile(r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+(![A-Za-z][A-Za-z0-9.\-_]+)?"),
    "url": re.compile(r"https?://.*"),
    "resize": re.compile(r"\+?\d+(\.\d+)?[KMGT]?"),
    "serial": re.compile(r"/dev/[^,]+|socket"),
    "totp-keys": re.compile(r"[0-9a-zA-Z!=]{0,4096}"),
    "machine-type": re.compile(
        r"(pc|pc(-i440fx)?-\d+(\.\d+)+|q35|pc-q35-\d+(\.\d+)+|virt(-\d+(\.\d+)+)?)(\+pve\d+)?(\.pxe)?"
    ),
    "uuid": re.compile(r"[a-fA-F0-9]{8}(-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}|[01]"),
    "bus-drive": re.compile(r"(ide|sata|scsi|virtio)\d+"),
    "wwn": re.compile(r"0x[0-9a-fA-F]{16}"),
    "vlan-trunks": re.compile(r"\d+(-\d+)?(;\d+(-\d+)?)*"),
    "job-id": re.compile(r"\S+"),
}
