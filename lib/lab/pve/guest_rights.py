"""Own which privileges it takes to set a guest's options: before anything is begun, and again inside the task.

What a disk's storage asks for is in guest_disks.py. Which option belongs to which
privilege is as in Proxmox VE's own tables; what is in none is for root@pam alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lib.lab.pve import datacenter, guest_disks
from lib.lab.pve.answers import failure
from lib.lab.pve.guest_options import is_drive
from lib.lab.pve.params import property_string
from lib.lab.pve.rights import Caller
from lib.lab.world import Document, World

_PRIVILEGES = {
    "VM.Config.CPU": "cores cpu cpulimit cpuunits numa numaN smp sockets vcpus",
    "VM.Config.Memory": "allow-ksm balloon memory shares",
    "VM.Config.HWType": "acpi audio0 hotplug kvm machine rng0 scsihw smbios1 tablet vga watchdog",
    "VM.Config.Options": """agent autostart bios description keyboard localtime migrate_downtime migrate_speed name
        onboot ostype protection reboot startdate startup tdf template""",
    "VM.Config.Disk": "boot bootdisk vmstatestorage",
    "VM.Config.Network": "netN",
    "VM.Config.Cloudinit|VM.Config.Network": """cicustom cipassword citype ciupgrade ciuser ipconfigN nameserver
        searchdomain sshkeys""",
    "VM.PowerMgmt": "freeze",
}
_PRIVILEGE_OF = {option: privilege for privilege, options in _PRIVILEGES.items() for option in options.split()}
# What these need depends on their values.
_BY_VALUE = ("serialN", "usbN", "hostpciN", "virtiofsN", "rng0")
_ELSEWHERE = ("cdrom", "tags", "unusedN", *_BY_VALUE[:-1])


def _kind(option: str) -> str:
    return re.sub(r"(?<=[a-z])\d+$", "N", option) if option not in _PRIVILEGE_OF else option


def need_options(who: Caller, vmid: int, pool: str | None, options: Iterable[str]) -> None:
    """Refuse unless the caller may set or remove each of the options, as far as their names tell."""
    if who.is_root:
        return
    for option in options:
        kind = _kind(option)
        if is_drive(option) or kind in _ELSEWHERE:
            continue
        if kind not in _PRIVILEGE_OF:  # args, hookscript, lock, affinity …
            raise failure(f"only root can set '{option}' config")
        who.need_guest(vmid, pool, *_PRIVILEGE_OF[kind].split("|"), any_of=True)
        if option == "startup":  # it changes how the host behaves
            who.need("/", "Sys.Modify")


def need_devices(who: Caller, vmid: int, pool: str | None, options: Mapping[str, Any]) -> None:
    """Refuse unless the caller may give a new guest these devices."""
    for option, value in options.items():
        _need_device(who, vmid, pool, option, str(value), "set")


def _need_device(who: Caller, vmid: int, pool: str | None, option: str, value: str, verb: str) -> None:
    kind = _kind(option)
    if kind not in _BY_VALUE or who.is_root:
        return
    if kind == "virtiofsN":
        who.need_guest(vmid, pool, "VM.Config.Disk")
        who.need(f"/mapping/dir/{property_string('virtiofs', value)['dirid']}", "Mapping.Use")
        return
    if kind == "rng0":
        who.need_guest(vmid, pool, "VM.Config.HWType")
        if property_string("rng", value).get("source") == "/dev/hwrng":
            who.need("/mapping/hwrng", "Mapping.Use")
        return
    if kind == "serialN":
        if value != "socket":
            raise failure(f"only root can {verb} '{option}' config for real devices")
        who.need_guest(vmid, pool, "VM.Config.HWType")
        return
    if kind == "usbN":
        who.need_guest(vmid, pool, "VM.Config.HWType")
    _need_mapping(who, option, property_string(kind[:-1], value))
    if kind == "hostpciN":
        who.need_guest(vmid, pool, "VM.Config.HWType")


def _need_mapping(who: Caller, option: str, device: Mapping[str, Any]) -> None:
    """Refuse a device of the host itself: others than root take one that is mapped (or SPICE's)."""
    usb = option.startswith("usb")
    if device.get("host"):
        if not usb or str(device["host"]).lower() != "spice":
            raise failure(f"only root can set '{option}' config for {'real' if usb else 'non-mapped'} devices")
    elif device.get("mapping"):
        who.need(f"/mapping/{'usb' if usb else 'pci'}/{device['mapping']}", "Mapping.Use")
    else:
        raise failure("either 'host' or 'mapping' must be set.")


def need_bridges(who: Caller, config: Mapping[str, Any]) -> None:
    """Refuse unless the caller may use every bridge that the network devices are on."""
    for option in sorted(config):
        if re.fullmatch(r"net\d+", option):
            net = property_string("net", str(config[option]))
            if "bridge" in net:
                path = f"/sdn/zones/localnetwork/{net['bridge']}"
                who.need(f"{path}/{net['tag']}" if "tag" in net else path, "SDN.Use")


def need_inside(
    world: World, who: Caller, vmid: int, config: Document, given: Mapping[str, Any], removed: Iterable[str]
) -> None:
    """Refuse what only the work itself looks at: drives, devices and tags; also what stood there before the change."""
    changed = [(option, config[option], "delete") for option in removed if option in config]
    for option, value in given.items():
        changed += [(option, each, "modify") for each in (config.get(option), value) if each is not None]
    for option, value, verb in changed:
        if option == "tags":
            need_tags(world, who, vmid, str(config.get("tags", "")), str(given.get("tags", "")))
        elif option.startswith("unused"):
            who.need_guest(vmid, None, "VM.Config.Disk")
            for volid in guest_disks.owned({option: value}, vmid).values() if verb == "delete" else ():
                who.need(f"/storage/{volid.partition(':')[0]}", "Datastore.AllocateSpace")
        elif is_drive(option):
            _need_drive(who, vmid, guest_disks.parse(option, value))
        else:
            _need_device(who, vmid, None, option, str(value), verb)
    need_bridges(who, {name: config[name] for name in {*given, *removed} if name in config})


def _need_drive(who: Caller, vmid: int, drive: Mapping[str, Any]) -> None:
    disc = guest_disks.is_cdrom(drive)
    privileges = ["VM.Config.CDROM" if disc else "VM.Config.Disk"]
    if disc and "cloudinit" in drive["file"]:
        privileges.insert(0, "VM.Config.Cloudinit")
    who.need_guest(vmid, None, *privileges)


def need_tags(world: World, who: Caller, vmid: int, before: str, after: str) -> None:
    """Refuse unless the caller may tag the guest, and so.

    While it is made it is in no pool yet, so a pool's rights do not count.
    """
    who.need_guest(vmid, None, "VM.Config.Options")
    datacenter.need_tags(world, who, before, after)
