"""Every path, asked with parameters of the right form by three identities, answers: none of them breaks the lab."""

from __future__ import annotations

import random

import pytest

from lib.lab.pve.api import ROUTES
from lib.lab.pve.call import Route
from lib.lab.pve.params import Parameter, declared
from tests.contract.host import Host

NAMED = {
    "node": "pve", "vmid": "100", "newid": "101", "storage": "local", "userid": "a@pve", "groupid": "group",
    "roleid": "Role", "poolid": "pool", "realm": "dir", "snapname": "one", "tokenid": "tok",
    "volume": "local:iso/x.iso",
    "upid": "UPID:pve:00000001:00000001:00000001:none:1:root@pam:", "roles": "PVEAuditor", "users": "a@pve",
    "content": "iso", "filename": "x.iso", "url": "http://x.example/y.iso", "size": "+1G", "sid": "vm:100",
    "path": "/vms", "idlist": "scsi0", "timezone": "UTC", "target": "pve", "password": "long enough", "zone": "zone",
}  # fmt: skip
OF_TYPE = {"{net}": "virtio,bridge=vmbr0", "{scsi}": "local:1", "{ide}": "none,media=cdrom", "{memory}": "512"}


def value(parameter: Parameter, chance: random.Random) -> str:
    if parameter.enum:
        return chance.choice(parameter.enum)
    if parameter.kind == "boolean":
        return chance.choice("01")
    if parameter.kind in ("integer", "number") and parameter.name not in NAMED:
        return str(int(parameter.low or 1))
    return OF_TYPE.get(parameter.type, NAMED.get(parameter.name, "x"))


def request(route: Route, chance: random.Random) -> tuple[str, dict[str, str]]:
    known, path, given = declared(route.declaration, 9), route.path, {}
    for name, parameter in known.items():
        often = 0.05 if len(known) > 40 else 0.3
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", NAMED.get(name, "x"))
        elif not parameter.optional or chance.random() < often:
            given[name] = value(parameter, chance)
    return path, given


@pytest.mark.parametrize("seed", range(4))
def test_every_path_answers(seed: int) -> None:
    chance = random.Random(seed)
    host = Host("8.4" if seed % 2 else "9.2").with_guest()
    host.data("POST", "/access/users", userid="a@pve", password="long enough")
    host.data("POST", "/access/users/a@pve/token/tok")
    host.data("POST", "/access/groups", groupid="group")
    host.data("POST", "/pools", poolid="pool")
    seen = set()
    for route in chance.sample(ROUTES, len(ROUTES)):
        path, given = request(route, chance)
        identity = chance.choice(("root@pam", "a@pve", "a@pve!tok"))
        seen.add(host.api.call(identity, route.method, path, given, "pve").status)
    assert {200, 400, 403, 500} <= seen <= {200, 400, 401, 403, 404, 500, 501}
