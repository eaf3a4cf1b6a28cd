"""Own the subcommands of qm and pvesm that are no request to the REST API: they read the configuration themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.lab.programs.host import Host, Output
from lib.lab.pve import storage_state, volume_names, volume_stores
from lib.lab.pve.answers import failure
from lib.lab.pve.tasks import TaskFailed

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


def import_disk(host: Host, params: Mapping[str, Any]) -> Output:
    """`qm disk import VMID FILE STORAGE`: the image becomes an unused disk, or the one that is named."""
    vmid, source, storage = str(params["vmid"]), str(params["source"]), params["storage"]
    if missing := _missing(host, vmid):
        return missing
    file = host.path(source)
    if not host.files.exists(file) or host.files.is_dir(file):
        return Output(2, "", f"{source}: non-existent or non-regular file\n")
    section = storage_state.need_on(host.world, storage, host.node)
    if "images" not in storage_state.contents(section):
        raise failure(f"storage {storage} does not support vm images")
    out = f"importing disk '{source}' to VM {vmid} ...\n"
    guest = host.world.get("guest", vmid) or {}
    config = guest["config"]
    stat = host.files.stat(file)
    facts: dict[str, Any] = stat.get("facts") or {}
    try:
        size = int(facts["virtual_size"] if "virtual_size" in facts else stat["size"])
        held = volume_stores.store(host.world, storage, host.node)
        volid = held.allocate(int(vmid), size, format=params.get("format", ""), used=stat["size"], facts=facts)
    except TaskFailed as problem:
        return Output(255, out, f"{problem}\n")
    drive = params.get("target-disk") or next(f"unused{n}" for n in range(256) if f"unused{n}" not in config)
    shown = volid if drive.startswith("unused") else f"{volid},size={volume_stores.format_size(size)}"
    host.world.put("guest", vmid, guest | {"config": config | {drive: shown}})
    return Output(0, f"{out}{drive}: successfully imported disk '{shown}'\n")


IMPORT = "vmid:vmid source:str storage:storage-id format?:(raw|qcow2|vmdk) target-disk?:str"


def path(host: Host, params: Mapping[str, Any]) -> Output:
    """`pvesm path VOLUME`: where a volume is or would be."""
    storage, _, volume = params["volume"].partition(":")
    found = storage_state.section_of(host.world, storage)
    volume_names.parse(found, volume)
    if found["type"] == "rbd":
        return Output(0, f"rbd:{found['pool']}/{volume}:conf=/etc/pve/ceph.conf\n")
    return Output(0, f"{storage_state.file_of(found, volume)}\n")
