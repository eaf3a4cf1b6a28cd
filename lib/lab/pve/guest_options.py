"""Own the options of a guest: how each is declared and stored. Which privilege it needs is in guest_rights.py."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from lib.lab.pve.answers import failure
from lib.lab.pve.params import print_properties, property_string

_BUSES = "ide[4]?:{ide} sata[6]?:{sata} scsi[31]?:{scsi} virtio[16]?:{virtio} efidisk0?:{efidisk} tpmstate0?:{tpmstate}"
KEYBOARDS = "de|de-ch|da|en-gb|en-us|es|fi|fr|fr-be|fr-ca|fr-ch|hu|is|it|ja|lt|mk|nl|no|pl|pt|pt-br|sv|sl|tr"
_LOCKS = "backup|clone|create|migrate|rollback|snapshot|snapshot-delete|suspending|suspended"

OPTIONS = f"""acpi?:bool affinity?:cpuset agent?:{{agent}} allow-ksm?:bool@9 amd-sev?:{{sev}} arch?:(x86_64|aarch64)
args?:str audio0?:{{audio}} autostart?:bool balloon?:int[0..] bios?:(seabios|ovmf) boot?:{{boot}}
bootdisk?:qm-bootdisk cdrom?:{{ide}} cicustom?:{{cicustom}} cipassword?:str
citype?:(configdrive2|nocloud|opennebula) ciupgrade?:bool ciuser?:str cores?:int[1..] cpu?:{{cpu}}
cpulimit?:num[0..128] cpuunits?:int[1..262144] description?:str<..8192> freeze?:bool hookscript?:volume-id
hostpci[16]?:{{hostpci}} hotplug?:hotplug-features hugepages?:(any|2|1024) intel-tdx?:{{tdx}}@9
ipconfig[32]?:{{ipconfig}} ivshmem?:{{ivshmem}} keephugepages?:bool keyboard?:({KEYBOARDS}) kvm?:bool
localtime?:bool lock?:({_LOCKS}) machine?:{{machine}} memory?:{{memory}} migrate_downtime?:num[0..]
migrate_speed?:int[0..] name?:dns-name nameserver?:address-list net[32]?:{{net}} numa?:bool numa[8]?:{{numa}}
onboot?:bool ostype?:(other|wxp|w2k|w2k3|w2k8|wvista|win7|win8|win10|win11|l24|l26|solaris) parallel[3]?:parallel
protection?:bool reboot?:bool rng0?:{{rng}}
scsihw?:(lsi|lsi53c810|virtio-scsi-pci|virtio-scsi-single|megasas|pvscsi) searchdomain?:str serial[4]?:serial-of-8@8
serial[4]?:serial@9 shares?:int[0..50000] smbios1?:{{smbios}}<..512> smp?:int[1..] sockets?:int[1..]
spice_enhancements?:{{spice}} sshkeys?:urlencoded startdate?:startdate startup?:startup-order tablet?:bool
tags?:tag-list tdf?:bool template?:bool unused[256]?:{{unused}} usb[14]?:{{usb}} vcpus?:int[1..] vga?:{{vga}}
virtiofs[10]?:{{virtiofs}} vmgenid?:uuid vmstatestorage?:storage-id watchdog?:{{watchdog}} {_BUSES}"""

# The order in which Proxmox itself walks over the drives of a guest.
DRIVES = (
    *(f"ide{n}" for n in range(4)),
    *(f"scsi{n}" for n in range(31)),
    *(f"virtio{n}" for n in range(16)),
    *(f"sata{n}" for n in range(6)),
    "efidisk0",
    "tpmstate0",
)
NOT_CONFIG = (
    *("node", "vmid", "pool", "start", "unique", "force", "archive", "storage", "bwlimit", "live-restore"),
    *("ha-managed", "import-working-storage", "delete", "digest", "revert", "skiplock", "background_delay"),
)

CLOUDINIT = ("cicustom", "cipassword", "citype", "ciupgrade", "ciuser", "nameserver", "searchdomain", "sshkeys")


_KEY = re.compile(r"(?:^|\s)((?:ssh|ecdsa|sk)-[\w@.-]+)\s+([A-Za-z0-9+/]+=*)")


def is_drive(option: str) -> bool:
    """Tell whether the option is a disk or CD drive."""
    return option in DRIVES


def drive_kind(option: str) -> str:
    """Return the name of the drive's property string: for example ide, scsi or efidisk."""
    return re.sub(r"\d+$", "", option)


def mac_address() -> str:
    """Return a new address of Proxmox's own prefix."""
    return "BC:24:11:" + ":".join(f"{byte:02X}" for byte in secrets.token_bytes(3))


def given(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options among the parameters of a request; `cdrom` is another word for ide2."""
    found = {name: value for name, value in params.items() if name not in NOT_CONFIG}
    if found.get("cdrom"):
        value = str(found.pop("cdrom"))
        found["ide2"] = value if "media=" in value else f"{value},media=cdrom"
    return found


def need_keys(params: Mapping[str, Any]) -> None:
    """Refuse SSH keys of which ssh-keygen could tell no fingerprint."""
    for line in unquote(str(params.get("sshkeys", ""))).split("\n"):
        if line.strip() and not _is_key(line):
            raise failure("SSH public key validation error")


def _is_key(line: str) -> bool:
    match = _KEY.search(line)
    if match is None:
        return False
    try:
        blob = base64.b64decode(match[2] + "=" * (-len(match[2]) % 4), validate=True)
    except ValueError:
        return False
    return blob[4 : 4 + int.from_bytes(blob[:4], "big")] == match[1].encode()


def stored(option: str, value: Any) -> Any:
    """Return an option's value as the configuration keeps it; None where it keeps none. Drives are not for this.

    What is kept is a file with a line for each option: fractions are read back as text, and of an empty value
    the blank behind the name. A description is a comment in it, without blanks at its end.
    """
    if option == "description":
        return str(value).rstrip() or None
    if re.fullmatch(r"net\d+", option):
        return network(str(value))
    if option == "vmgenid" and value == "1":  # a new one
        return str(uuid.uuid4())
    if option == "cpuunits":  # what control groups of the second version take
        return min(int(value), 10000)
    if option == "cipassword":  # kept as a hash, shown as stars
        return "$5$" + hashlib.sha256(str(value).encode()).hexdigest()
    if isinstance(value, float):
        return str(int(value) if value.is_integer() else value)
    return " " if value == "" else value


def pinned_machine(config: Mapping[str, Any], qemu: str) -> dict[str, str]:
    """Return the machine of a guest with Windows, which keeps the version that it was made with; else nothing."""
    parts = str(config.get("machine", "pc")).removeprefix("type=").split(",")
    kind = {"pc": "pc-i440fx", "q35": "pc-q35"}.get(parts[0])
    if kind is None or not str(config.get("ostype", "")).startswith("w"):
        return {}
    return {"machine": ",".join([f"{kind}-{qemu.rpartition('.')[0]}+pve1", *parts[1:]])}


def need_machine(text: str) -> None:
    """Refuse an IOMMU that the machine does not have."""
    machine = property_string("machine", text)
    bits, iommu = machine.get("aw-bits"), machine.get("viommu")
    if iommu == "intel" and "q35" not in str(machine.get("type")):
        raise failure("to use Intel vIOMMU please set the machine type to q35")
    if iommu == "intel" and bits not in (None, 39, 48):
        raise failure("Intel vIOMMU supports only 39 or 48 bits as address width")
    if bits and not iommu:
        raise failure("cannot set aw-bits if no vIOMMU is configured")


def network(text: str, fresh: bool = False) -> str:
    """Return a network device as the configuration keeps it: the model with its address first."""
    net = property_string("net", text)
    model = net.pop("model")
    given = net.pop("macaddr", None)
    address = mac_address() if fresh or given is None else str(given).upper()
    return print_properties({"first": f"{model}={address}"} | net, "first")


def default_boot(config: dict[str, Any]) -> str:
    """Return the boot order of a guest that came without one: first disk, first CD drive, first network."""
    drives = {name: str(config[name]) for name in DRIVES if name in config and name != "efidisk0"}
    disks = [name for name, value in drives.items() if "media=cdrom" not in value and drive_kind(name) != "tpmstate"]
    discs = [name for name, value in drives.items() if "media=cdrom" in value and "cloudinit" not in value]
    nets = sorted(name for name in config if re.fullmatch(r"net\d+", name))
    devices = disks[:1] + discs[:1] + nets[:1]
    return boot_order(devices)


def boot_order(devices: list[str]) -> str:
    """Return the option: without any device the line in the file holds a blank, and a blank is read back."""
    return f"order={';'.join(devices)}" if devices else " "
