"""Own the programs that look at the network: ip, ping, getent, host, dig. Nothing leaves this machine."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import Any

from lib.lab.dns import service
from lib.lab.programs.arguments import parse
from lib.lab.programs.host import Host, Output
from lib.lab.provenance import TOOL, belief
from lib.lab.pve import cluster
from lib.lab.topology import public_address


def _links(host: Host) -> list[dict[str, Any]]:
    node = host.machine
    up = ["BROADCAST", "MULTICAST", "UP", "LOWER_UP"]
    every = {"qdisc": "noqueue", "linkmode": "DEFAULT", "group": "default", "txqlen": 1000}
    loop = {"ifindex": 1, "ifname": "lo", "flags": ["LOOPBACK", "UP", "LOWER_UP"], "mtu": 65536, "operstate": "UNKNOWN"}
    nobody = "00:00:00:00:00:00"
    links = [every | loop | {"link_type": "loopback", "address": nobody, "broadcast": nobody}]
    bridges = node.get("bridges", [])
    nics = [node["nic"]] if node.get("nic") else []
    for index, name in enumerate([*nics, *bridges]):
        link = every | {
            "ifindex": index + 2,
            "ifname": name,
            "flags": up,
            "mtu": 1500,
            "operstate": "UP",
            "link_type": "ether",
        }
        link |= {"address": node.get("mac", "bc:24:11:00:00:01"), "broadcast": "ff:ff:ff:ff:ff:ff"}
        links.append(link | ({"master": bridges[0]} if name in nics and bridges else {}))
    return links


def _addresses(host: Host, link: dict[str, Any]) -> list[dict[str, Any]]:
    node = host.machine
    length = ipaddress.ip_network(host.world.lab.get("cidr", "10.0.0.0/24")).prefixlen
    row = {"family": "inet", "label": link["ifname"]}
    for_ever = {"valid_life_time": (1 << 32) - 1, "preferred_life_time": (1 << 32) - 1}
    if link["ifname"] == "lo":
        return [row | {"local": "127.0.0.1", "prefixlen": 8, "scope": "host"} | for_ever]
    if link["ifname"] in node.get("bridges", [])[:1]:
        return [row | {"local": node["address"], "prefixlen": length, "scope": "global"} | for_ever]
    return []


def ip(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Show links, addresses or routes; -j as JSON."""
    as_json = any(word in ("-j", "-json", "--json") for word in argv)
    words = [word for word in argv if not word.startswith("-")]
    what = words[0] if words else ""
    names = [word for word in words[1:] if word not in ("show", "list", "ls", "dev", "up")]
    if what.startswith("r"):
        gateway = host.world.lab.get("gateway")
        rows: list[dict[str, Any]] = [
            {"dst": "default", "gateway": gateway, "dev": _bridge(host), "protocol": "kernel", "flags": []}
        ]
        plain = f"default via {gateway} dev {_bridge(host)} proto kernel onlink\n"
        return Output(0, json.dumps(rows, separators=(",", ":")) + "\n" if as_json else plain)
    if not what or what[0] not in "al":
        return Output(1, "", f'Object "{what}" is unknown, try "ip help".\n')
    links = _links(host)
    for name in names:
        links = [link for link in links if link["ifname"] == name]
        if not links:
            return Output(1, "", f'Device "{name}" does not exist.\n')
    if what.startswith("a"):
        links = [
            {k: v for k, v in link.items() if k != "linkmode"} | {"addr_info": _addresses(host, link)} for link in links
        ]
    if as_json:
        return Output(0, json.dumps(links, separators=(",", ":")) + "\n")
    out = ""
    for link in links:
        out += f"{link['ifindex']}: {link['ifname']}: <{','.join(link['flags'])}> mtu {link['mtu']}"
        out += f" state {link['operstate']}\n"
        out += "".join(
            f"    inet {a['local']}/{a['prefixlen']} scope {a['scope']} {a['label']}\n"
            for a in link.get("addr_info", [])
        )
    return Output(0, out)


def _bridge(host: Host) -> str:
    bridges = host.machine.get("bridges") or ["lo"]
    return str(bridges[0])


def lookup(host: Host, name: str) -> list[str]:
    """Return the addresses of a name, as the host would find them: its own /etc/hosts, then the name server."""
    if re.fullmatch(r"[\d.]+", name):
        return [name]
    for line in host.files.read("/etc/hosts").decode().splitlines():
        words = line.partition("#")[0].split()
        if name in words[1:]:
            return [words[0]]
    return _asked(host, name)


def _asked(host: Host, name: str) -> list[str]:
    """Ask the name servers of /etc/resolv.conf; those that are not simulated know the internet alone."""
    servers = re.findall(r"^nameserver\s+(\S+)", host.files.read("/etc/resolv.conf").decode(), re.MULTILINE)
    for address in servers:
        simulated = service.server_of(host.world, address)
        if simulated is None:
            public = public_address(host.world, name)
            if address in host.world.lab.get("nameservers", []):
                return [public] if public else []
            continue
        answering = service.answering(host.world, simulated)
        if answering is not None and Host(host.world, simulated, None, host.faults).is_up():
            return [record.data for record in answering.answer(name.lower(), "A").records if record.type == "A"]
    return []


def answers(host: Host, address: str) -> bool:
    """Tell whether a ping is answered: by gateway, name servers, hosts, running guests and the internet."""
    meta = host.world.lab
    simulated = service.server_of(host.world, address)
    if simulated is not None:
        return Host(host.world, simulated, None, host.faults).is_up()
    if address in ("127.0.0.1", meta.get("gateway"), *meta.get("nameservers", [])) or address.startswith("198.51.100."):
        return True
    for name, node in host.world.all("node").items():
        if node["address"] == address:
            return cluster.is_up(host.world, name)
    wanted = re.compile(rf"\bip={re.escape(address)}/")
    for guest in host.world.all("guest").values():
        values = [str(value) for key, value in guest.get("config", {}).items() if key.startswith("ipconfig")]
        if guest.get("status") == "running" and any(wanted.search(value) for value in values):
            return True
    return False


def ping(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Ask for an echo; exit 1 without answer, 2 for a name that nobody knows."""
    options, words = parse(argv, "q n 4 6", "c W w i s I")
    name = words[0]
    addresses = lookup(host, name)
    if not addresses:
        return Output(2, "", f"ping: {name}: Name or service not known\n", seconds=0.1)
    address, count = addresses[0], int(options.get("c", "1"))
    head = f"PING {name} ({address}) 56(84) bytes of data.\n"
    if not answers(host, address):
        tail = (
            f"\n--- {name} ping statistics ---\n{count} packets transmitted, 0 received, 100% packet loss, time 0ms\n\n"
        )
        return Output(1, head + tail, seconds=float(options.get("W", "10")))
    lines = (
        ""
        if "q" in options
        else "".join(f"64 bytes from {address}: icmp_seq={n + 1} ttl=64 time=0.180 ms\n" for n in range(count))
    )
    tail = (
        f"\n--- {name} ping statistics ---\n{count} packets transmitted, {count} received, 0% packet loss, time 0ms\n"
    )
    return Output(0, head + lines + tail + "rtt min/avg/max/mdev = 0.180/0.180/0.180/0.000 ms\n")


def getent(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Look names up: hosts, ahosts, ahostsv4; and passwd for root."""
    kind, names = (argv[0], argv[1:]) if argv else ("", [])
    if kind == "passwd":
        return Output(0, "root:x:0:0:root:/root:/bin/bash\n") if names in ([], ["root"]) else Output(2)
    if kind not in ("hosts", "ahosts", "ahostsv4"):
        hint = "Try `getent --help' or `getent --usage' for more information.\n"
        return Output(1, hint, f"Unknown database: {kind}\n")
    out, missing = "", False
    for name in names:
        found = lookup(host, name)
        missing = missing or not found
        for address in found:
            if kind == "hosts":
                out += f"{address:<15} {name}\n"
            else:
                out += f"{address:<15} STREAM {name}\n{address:<15} DGRAM  \n{address:<15} RAW    \n"
    return Output(2 if missing else 0, out)


def dig(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print addresses; the name server is asked as the host asks."""
    names = [word for word in argv if not word.startswith(("+", "@", "-")) and word not in ("A", "IN")]
    found = [address for name in names for address in lookup(host, name)]
    if "+short" in argv:
        return Output(0, "".join(f"{address}\n" for address in found))
    head = f";; ->>HEADER<<- opcode: QUERY, status: {'NOERROR' if found else 'NXDOMAIN'}, id: 1\n\n"
    return Output(0, head + "".join(f"{names[0]}.\t300\tIN\tA\t{address}\n" for address in found))


def host_(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Print a name's address."""
    name = next((word for word in argv if not word.startswith("-")), "")
    found = lookup(host, name)
    if not found:
        return Output(1, f"Host {name} not found: 3(NXDOMAIN)\n")
    return Output(0, "".join(f"{name} has address {address}\n" for address in found))


PROGRAMS = {"ip": ip, "ping": ping, "getent": getent, "dig": dig, "host": host_}
SOURCES = dict.fromkeys(PROGRAMS, TOOL) | dict.fromkeys(("dig", "host"), belief("what dig and host print"))
