"""Own what cloud-init is told about a guest: its user, network and meta data, as …/cloudinit/dump gives them.

What a running guest takes on of it is not on its drive before that is made anew; until then it is noted here.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from typing import Any
from urllib.parse import unquote

from lib.lab.pve.guest_options import CLOUDINIT, DRIVES
from lib.lab.world import Document

_META = '{{\n     "uuid": "{}",\n     "network_config": {{ "content_path": "/content/0000" }}\n}}\n'


def note(guest: Document, option: str, value: Any) -> None:
    """Note that a running guest takes on a value that its drive does not have (None: that it lets go of one)."""
    old = guest["config"].get(option)
    of_drive = option in (*CLOUDINIT, "name") or re.fullmatch(r"(net|ipconfig)\d+", option)
    has_drive = any("cloudinit" in str(guest["config"].get(name, "")).split(",")[0] for name in DRIVES)
    if guest["status"] != "running" or not of_drive or not has_drive or old == value:
        return
    noted = guest.setdefault("cloudinit", {})  # what the drive has; None where it has nothing
    if option not in noted:
        noted[option] = old
    elif noted[option] == value:
        del noted[option]


def listed(guest: Document, config: Document) -> list[Document]:
    """Return the options for cloud-init that are set (its addresses are not among them), and what waits of all.

    `config` is the guest's configuration as it is shown.
    """
    noted = {name: "**********" if old and name == "cipassword" else old for name, old in guest["cloudinit"].items()}
    found = [{"key": name, "pending": config.get(name)} for name, old in noted.items() if old is None]
    for name in CLOUDINIT:
        if config.get(name) and name not in noted:
            found.append({"key": name, "value": config[name]})
        elif config.get(name) and noted[name]:
            found.append({"key": name, "value": noted[name], "pending": config[name]})
    return found + [{"key": name, "delete": 1} for name, old in noted.items() if old and not config.get(name)]


def dump(lab: Document, vmid: int, config: Document, kind: str) -> str:
    """Return the user, network or meta data. What the guest has no name servers or domain for, its node's are."""
    windows = str(config.get("ostype", "")).startswith("w")
    nocloud = config.get("citype", "configdrive2" if windows else "nocloud") == "nocloud"
    user, network = _user(vmid, config), (_network if nocloud else _interfaces)(config, *_resolvers(lab, config))
    if kind != "meta":
        return user if kind == "user" else network
    digest = hashlib.sha1((user + network).encode()).hexdigest()
    return f"instance-id: {digest}\n" if nocloud else _META.format(digest)


def _user(vmid: int, config: Document) -> str:
    name = fqdn = str(config.get("name", f"VM{vmid}"))
    if "." in name:
        name = name.partition(".")[0]
    elif config.get("searchdomain"):
        fqdn = f"{name}.{config['searchdomain']}"
    user = config.get("ciuser")
    lines = ["#cloud-config", f"hostname: {name}", "manage_etc_hosts: true", f"fqdn: {fqdn}"]
    lines += [f"user: {user}"] if user else []
    lines += ["disable_root: False"] if user == "root" else []
    lines += ["password: **********"] if config.get("cipassword") else []
    if config.get("sshkeys"):
        keys = [line for line in unquote(str(config["sshkeys"])).splitlines() if line.strip()]
        lines += ["ssh_authorized_keys:", *(f"  - {key}" for key in keys)]
    lines += ["chpasswd:", "  expire: False"]
    lines += ["users:", "  - default"] if user != "root" else []
    lines += ["package_upgrade: true"] if int(config.get("ciupgrade", 1)) else []
    return _text(lines)


def _resolvers(lab: Document, config: Document) -> tuple[list[str], list[str]]:
    """Return the name servers and the search domains."""
    servers, domains = config.get("nameserver"), config.get("searchdomain", lab.get("domain", ""))
    return list(lab["nameservers"][:3]) if servers is None else str(servers).split(), str(domains).split()


def _addresses(config: Document) -> list[tuple[str, str, dict[str, str]]]:
    """Return name, MAC address and settings of each network device that has any."""
    found = []
    for option in sorted(option for option in config if re.fullmatch(r"net\d+", option)):
        number = option.removeprefix("net")
        given = str(config.get(f"ipconfig{number}", ""))
        if given:
            address = str(config[option]).partition("=")[2][:17].lower()
            found.append((f"eth{number}", address, dict(part.partition("=")[::2] for part in given.split(","))))
    return found


def _network(config: Document, servers: list[str], domains: list[str]) -> str:
    """Return the network in the first version of cloud-init's own format."""
    lines = ["version: 1", "config:"]
    for name, address, ip in _addresses(config):
        lines += ["    - type: physical", f"      name: {name}", f"      mac_address: '{address}'", "      subnets:"]
        if ip.get("ip") == "dhcp":
            lines.append("      - type: dhcp4")
        elif "ip" in ip:
            host = ipaddress.ip_interface(ip["ip"])
            lines += ["      - type: static", f"        address: '{host.ip}'", f"        netmask: '{host.netmask}'"]
            lines += [f"        gateway: '{ip['gw']}'"] if "gw" in ip else []
        if ip.get("ip6") in ("dhcp", "auto"):
            lines.append(f"      - type: {'dhcp6' if ip['ip6'] == 'dhcp' else 'ipv6_slaac'}")
        elif "ip6" in ip:
            lines += ["      - type: static6", f"        address: '{ip['ip6']}'"]
            lines += [f"        gateway: '{ip['gw6']}'"] if "gw6" in ip else []
    lines.append("    - type: nameserver")
    for what, values in (("address", servers), ("search", domains)):
        lines += [f"      {what}:", *(f"      - '{each}'" for each in values)] if values else []
    return _text(lines)


def _interfaces(config: Document, servers: list[str], domains: list[str]) -> str:
    """Return the network in the format of Debian's /etc/network/interfaces."""
    lines = ["auto lo", "iface lo inet loopback", ""]
    lines += [f"        dns_nameservers {' '.join(servers)}"] if servers else []
    lines += [f"        dns_search {' '.join(domains)}"] if domains else []
    for name, _, ip in _addresses(config):
        lines.append(f"auto {name}")
        for key, family in (("ip", "inet"), ("ip6", "inet6")):
            if ip.get(key) in ("dhcp", "auto"):
                lines.append(f"iface {name} {family} {ip[key]}")
            elif key in ip:
                host = ipaddress.ip_interface(ip[key])
                mask = host.netmask if key == "ip" else host.network.prefixlen
                lines += [f"iface {name} {family} static", f"        address {host.ip}", f"        netmask {mask}"]
                gateway = key.replace("ip", "gw")
                lines += [f"        gateway {ip[gateway]}"] if gateway in ip else []
    return _text(lines)


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
