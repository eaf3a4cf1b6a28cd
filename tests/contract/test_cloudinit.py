"""What cloud-init is told about a guest: the texts of src/PVE/QemuServer/Cloudinit.pm (qemu-server)."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.contract.host import GUEST, Host


@pytest.fixture
def host() -> Host:
    return Host().with_guest()


def dumped(host: Host, kind: str, **given: Any) -> str:
    if given:
        host.data("PUT", f"{GUEST}/config", **given)
    return str(host.data("GET", f"{GUEST}/cloudinit/dump", type=kind))


def test_the_network_of_a_guest_is_that_of_the_devices_with_settings(host: Host) -> None:
    assert dumped(host, "network") == "version: 1\nconfig:\n    - type: nameserver\n"
    net = "virtio=BC:24:11:00:00:01,bridge=vmbr0"
    both = {"ipconfig0": "ip=10.0.0.5/22,gw=10.0.0.1", "ipconfig1": "ip6=auto", "net1": net.replace(":01", ":02")}
    text = dumped(
        host, "network", net0=net, net2="e1000", nameserver="1.1.1.1 9.9.9.9", searchdomain="lab.test", **both
    )
    assert text == (
        "version: 1\nconfig:\n"
        "    - type: physical\n      name: eth0\n      mac_address: 'bc:24:11:00:00:01'\n      subnets:\n"
        "      - type: static\n        address: '10.0.0.5'\n        netmask: '255.255.252.0'\n"
        "        gateway: '10.0.0.1'\n"
        "    - type: physical\n      name: eth1\n      mac_address: 'bc:24:11:00:00:02'\n      subnets:\n"
        "      - type: ipv6_slaac\n"
        "    - type: nameserver\n      address:\n      - '1.1.1.1'\n      - '9.9.9.9'\n"
        "      search:\n      - 'lab.test'\n"
    )
    wholes = dumped(host, "user") + text
    assert dumped(host, "meta") == f"instance-id: {hashlib.sha1(wholes.encode()).hexdigest()}\n"


def test_a_guest_without_name_servers_gets_those_of_its_node(host: Host) -> None:
    host.data("PUT", "/nodes/pve/dns", search="node.test", dns1="10.0.0.53")
    tail = "    - type: nameserver\n      address:\n      - '10.0.0.53'\n      search:\n      - 'node.test'\n"
    assert dumped(host, "network").endswith(tail)


def test_the_network_of_a_config_drive(host: Host) -> None:
    given = {"ipconfig0": "ip=dhcp,ip6=fd00::5/64,gw6=fd00::1", "nameserver": "1.1.1.1"}
    assert dumped(host, "network", citype="configdrive2", **given) == (
        "auto lo\niface lo inet loopback\n\n        dns_nameservers 1.1.1.1\n"
        "auto eth0\niface eth0 inet dhcp\n"
        "iface eth0 inet6 static\n        address fd00::5\n        netmask 64\n        gateway fd00::1\n"
    )
    assert '"network_config": { "content_path": "/content/0000" }' in dumped(host, "meta")


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({"name": "a.lab.test", "searchdomain": "not.this"}, ("hostname: a", "fqdn: a.lab.test")),
        ({"searchdomain": "lab.test"}, ("hostname: guest", "fqdn: guest.lab.test")),
        ({"delete": "name"}, ("hostname: VM100", "fqdn: VM100")),
    ],
)
def test_the_names_of_a_guest(host: Host, given: dict[str, Any], lines: tuple[str, str]) -> None:
    text = dumped(host, "user", **given).splitlines()
    assert (text[1], text[3]) == lines


def test_root_is_let_in_and_upgrades_may_be_left_out(host: Host) -> None:
    text = dumped(host, "user", ciuser="root", ciupgrade=0)
    assert "user: root\ndisable_root: False\nchpasswd:\n  expire: False\n" in text
    assert "users:" not in text
    assert "package_upgrade" not in text


def test_what_is_set_for_cloud_init_is_listed_without_addresses(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", ipconfig0="ip=dhcp", ciuser="root", ciupgrade=0, cipassword="secret")
    listed = {entry["key"]: entry["value"] for entry in host.data("GET", f"{GUEST}/cloudinit")}
    assert listed == {"ciuser": "root", "cipassword": "**********"}


def test_what_a_running_guest_takes_on_is_not_on_its_drive_yet(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", scsi1="local:cloudinit", ciuser="one", nameserver="1.1.1.1")
    host.task("POST", f"{GUEST}/status/start")
    host.data("PUT", f"{GUEST}/config", ciuser="two", ipconfig0="ip=dhcp", delete="nameserver", searchdomain="lab.test")
    now: list[dict[str, Any]] = [
        {"key": "ciuser", "value": "one", "pending": "two"},
        {"key": "nameserver", "delete": 1},
        {"key": "ipconfig0", "pending": "ip=dhcp"},
        {"key": "searchdomain", "pending": "lab.test"},
    ]
    listed = host.data("GET", f"{GUEST}/cloudinit")
    assert sorted(listed, key=lambda entry: str(entry["key"])) == sorted(now, key=lambda entry: str(entry["key"]))
    host.data("PUT", f"{GUEST}/config", ciuser="one", delete="ipconfig0")
    host.data("PUT", f"{GUEST}/cloudinit")
    after = [{"key": "ciuser", "value": "one"}, {"key": "searchdomain", "value": "lab.test"}]
    assert host.data("GET", f"{GUEST}/cloudinit") == after


def test_a_copy_of_the_drive_has_the_format_that_was_asked_for(host: Host) -> None:
    host.data("PUT", f"{GUEST}/config", ide0="local:cloudinit")
    host.task("POST", f"{GUEST}/clone", newid=101, full=1, format="raw")
    copied = host.data("GET", "/nodes/pve/qemu/101/config")
    assert copied["ide0"] == "local:101/vm-101-cloudinit.raw,media=cdrom,size=4M"
