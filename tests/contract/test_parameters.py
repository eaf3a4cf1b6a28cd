"""The complaints about parameters, word by word as PVE::JSONSchema of pve-common makes them.

What a recording has of them is in test_recordings.py; the rest was read in the sources named here.
"""

from __future__ import annotations

from typing import Any

import pytest

from lib.lab.pve import params
from lib.lab.pve.answers import Refusal

UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
FORMAT = "invalid format - "


def errors(declaration: str, version: int = 9, **given: Any) -> dict[str, str]:
    with pytest.raises(Refusal) as caught:
        params.check(declaration, given, version)
    assert caught.value.status == 400
    assert caught.value.message == "Parameter verification failed."
    return dict(caught.value.errors or {})


RULE_OF_INTEGERS = "type check ('integer') failed - got 'x'"
# check_type, check_prop and check_object of src/PVE/JSONSchema.pm
RULES = [
    ("n:int", {"n": "x"}, {"n": "type check ('integer') failed - got 'x'"}),
    ("n:int", {"n": ""}, {"n": "type check ('integer') failed - got ''"}),
    ("n:int", {"n": "1.5"}, {"n": "type check ('integer') failed - got '1.5'"}),
    ("n:num", {"n": "1.x"}, {"n": "type check ('number') failed - got '1.x'"}),
    ("n:int[5..9]", {"n": "4"}, {"n": "value must have a minimum value of 5"}),
    ("n:int[5..9]", {"n": "10"}, {"n": "value must have a maximum value of 9"}),
    ("s:str<3..5>", {"s": "ab"}, {"s": "value must be at least 3 characters long"}),
    ("s:str<3..5>", {"s": "abcdef"}, {"s": "value may only be 5 characters long"}),
    ("s:(a|b)", {"s": "c"}, {"s": "value 'c' does not have a value in the enumeration 'a, b'"}),
    ("s:url", {"s": "ftp://x"}, {"s": "value does not match the regex pattern"}),
    ("s:str", {}, {"s": "property is missing and it is not optional"}),
    ("s?:str", {"t": "1"}, {"t": UNKNOWN}),
    ("a?:str!b b?:str", {"a": "1"}, {"b": "missing property - 'a' requires this property"}),
    ("f:bool", {"f": "true"}, {"f": "type check ('boolean') failed - got 'true'"}),
    ("f:bool", {"f": "2"}, {"f": "type check ('boolean') failed - got '2'"}),
    ("s:str", {"s": "a\0b"}, {"s": "type check ('string') failed - got ARRAY"}),
    ("s:url t:int", {"s": "x", "t": "x"}, {"s": "value does not match the regex pattern", "t": RULE_OF_INTEGERS}),
]


@pytest.mark.parametrize(("declaration", "given", "told"), RULES)
def test_what_is_wrong_is_told_in_the_real_words(declaration: str, given: dict[str, Any], told: dict[str, str]) -> None:
    assert errors(declaration, **given) == told


# pve-common: src/PVE/JSONSchema.pm; pve-access-control: src/PVE/AccessControl.pm and Auth/Plugin.pm;
# pve-storage: src/PVE/Storage/Plugin.pm
FORMATS = [
    ("vmid", "99", "value does not look like a valid VM ID"),
    ("node", "-a", "value does not look like a valid node name"),
    ("dns-name", "a_b", "value does not look like a valid DNS name"),
    ("configid", "1a", "invalid configuration ID '1a'"),
    ("storage-id", "a b", "storage ID 'a b' contains illegal characters"),
    ("bridge-id", "a/b", "invalid bridge ID 'a/b'"),
    ("iface", "1a", "invalid network interface name '1a'"),
    ("mac-addr", "01:00:00:00:00:00", "value does not look like a valid unicast MAC address"),
    ("ipv4", "1.2.3", "value does not look like a valid IPv4 address"),
    ("ipv6", "1.2.3.4", "value does not look like a valid IPv6 address"),
    ("ip", "a", "value does not look like a valid IP address"),
    ("address", "a b", "value does not look like a valid address: a b"),
    ("CIDR", "10.0.0.1", "value does not look like a valid CIDR network"),
    ("CIDRv4", "10.0.0.0/4", "value does not look like a valid IPv4 CIDR network"),
    ("email-opt", "nobody", "value does not look like a valid email address"),
    ("disk-size", "1X", "value does not look like a valid disk size: 1X"),
    ("startup-order", "first", "unable to parse startup options"),
    ("tag-list", "good;b@d", "invalid characters in tag"),
    ("task-status-type-list", "ok,odd", "invalid status 'odd'"),
    ("userid", "root", "value 'root' does not look like a valid user name"),
    ("tokenid", "root@pam", "value 'root@pam' does not look like a valid token ID"),
    ("groupid", "a b", "group name 'a b' contains invalid characters"),
    ("roleid", "a b", "role name 'a b' contains invalid characters"),
    ("poolid", "a b", "pool name 'a b' contains invalid characters"),
    ("storage-content-list", "iso,odd", "invalid content type 'odd'"),
    ("urlencoded", "a b", "invalid urlencoded string: a b"),
]


@pytest.mark.parametrize(("kind", "value", "told"), FORMATS)
def test_a_value_of_a_format_is_refused_in_the_real_words(kind: str, value: str, told: str) -> None:
    assert errors(f"p:{kind}", p=value) == {"p": f"{FORMAT}{told}\n"}


# parse_property_string of src/PVE/JSONSchema.pm
PROPERTIES = [
    ("net", "virtio,bridge=vmbr0,nosuch=1", "invalid key in comma-separated list property: nosuch"),
    ("net", "virtio,tag=1,tag=2", "duplicate key in comma-separated list property: tag"),
    ("net", "virtio,e1000", "duplicate key in comma-separated list property: model"),
    ("net", "virtio,bridge=", "missing key in comma-separated list property"),
    ("net", "bridge=vmbr0", "format error\nnet.model: property is missing and it is not optional"),
    ("net", "virtio,tag=0", "format error\nnet.tag: value must have a minimum value of 1"),
    ("net", "nic,bridge=vmbr0", "format error\nnet.model: value 'nic' does not have a value in the enumeration "),
    ("ipconfig", "dhcp", "value without key, but schema does not define a default key"),
    ("ipconfig", "gw=10.0.0.1", "format error\nipconfig.ip: missing property - 'ipconfig.gw' requires this property"),
    ("agent", "maybe", "format error\nagent.enabled: type check ('boolean') failed - got 'maybe'"),
]


@pytest.mark.parametrize(("kind", "value", "told"), PROPERTIES)
def test_a_property_string_is_refused_in_the_real_words(kind: str, value: str, told: str) -> None:
    given: dict[str, Any] = {kind: value}
    assert errors(f"{kind}:{{{kind}}}", **given)[kind].startswith(FORMAT + told)


def test_a_flag_in_a_property_string_may_be_a_word_and_one_in_a_request_may_not() -> None:
    assert params.property_string("net", "virtio,firewall=yes")["firewall"] == 1


def test_the_model_of_a_network_device_may_be_the_key_of_its_address() -> None:
    net = params.property_string("net", "e1000=BC:24:11:00:00:01,bridge=vmbr0")
    assert net == {"model": "e1000", "macaddr": "BC:24:11:00:00:01", "bridge": "vmbr0"}
    with pytest.raises(ValueError, match="key alias 'model' is already defined"):
        params.property_string("net", "model=virtio,e1000=BC:24:11:00:00:01")


def test_a_list_may_come_as_several_values_or_as_one() -> None:
    assert params.check("tags:tag-list", {"tags": "a\0b"}, 9) == {"tags": "a,b"}
    assert params.check("paths:list", {"paths": "/a\0/b"}, 9) == {"paths": ["/a", "/b"]}


def test_what_a_version_does_not_have_is_unknown_there() -> None:
    assert errors("old?:str@8 new?:str@9", 9, old="1") == {"old": UNKNOWN}
    assert errors("old?:str@8 new?:str@9", 8, new="1") == {"new": UNKNOWN}
    assert params.check("kind:(a|b|c)@8 kind:(a|b)@9", {"kind": "c"}, 8) == {"kind": "c"}
    assert "'a, b'" in errors("kind:(a|b|c)@8 kind:(a|b)@9", 9, kind="c")["kind"]
