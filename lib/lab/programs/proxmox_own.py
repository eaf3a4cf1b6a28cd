"""Own the subcommands of qm and pvesm that are no request to the REST API: they read the configuration themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.lab.programs.host import Host, Output
from lib.lab.pve import storage_state, volume_names

_NOT_OF_THE_GUEST = ("agent", "clipboard", "cpu", "ha", "spice")  # the API puts them beside it, or they mean nothing


def _missing(host: Host, vmid: str) -> Output | None:
    guest = host.world.get("guest", vmid)
    if guest is not None and guest["node"] == host.node:
        return None
    return Output(2, "", f"Configuration file 'nodes/{host.node}/qemu-server/{vmid}.conf' does not exist\n")


def status(host: Host, params: Mapping[str, Any]) -> Output:
    """`qm status VMID [--verbose]`."""
    vmid = str(params["vmid"])
    if missing := _missing(host, vmid):
        return missing
    assert host.api is not None
    answer = host.api.call("root@pam", "GET", f"/nodes/{host.node}/qemu/{vmid}/status/current", {}, host.node)
    data = (answer.body or {}).get("data", {})
    if not params.get("verbose"):
        return Output(0, f"status: {data.get('qmpstatus') or 'unknown'}\n")
    return Output(0, "".join(_lines("", data[key], key) for key in sorted(data) if key not in _NOT_OF_THE_GUEST))


def _lines(prefix: str, value: Any, key: str = "") -> str:
    head = f"{prefix}{key}:" if key else prefix
    if isinstance(value, dict):
        return f"{head}\n" + "".join(_lines(f"\t{prefix}", value[name], name) for name in sorted(value))
    return "" if value is None else f"{head} {value}\n".lstrip(" ")


def unlock(host: Host, params: Mapping[str, Any]) -> Output:
    """`qm unlock VMID`."""
    vmid = str(params["vmid"])
    if missing := _missing(host, vmid):
        return missing
    host.world.put("guest", vmid, (host.world.get("guest", vmid) or {}) | {"lock": ""})
    return Output()


def path(host: Host, params: Mapping[str, Any]) -> Output:
    """`pvesm path VOLUME`: where a volume is or would be."""
    storage, _, volume = params["volume"].partition(":")
    found = storage_state.section_of(host.world, storage)
    volume_names.parse(found, volume)
    if found["type"] == "rbd":
        return Output(0, f"rbd:{found['pool']}/{volume}:conf=/etc/pve/ceph.conf\n")
    return Output(0, f"{storage_state.file_of(found, volume)}\n")
