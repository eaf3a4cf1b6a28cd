"""Own the declarations of property strings: options whose value is itself `a=1,b=2` (disks, networks, agent …)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_LIMITS = """bps?:int bps_max_length?:int[1..] bps_rd?:int bps_rd_max_length?:int[1..] bps_wr?:int
bps_wr_max_length?:int[1..] iops?:int iops_max?:int iops_max_length?:int[1..] iops_rd?:int iops_rd_max?:int
iops_rd_max_length?:int[1..] iops_wr?:int iops_wr_max?:int iops_wr_max_length?:int[1..] mbps?:num mbps_max?:num
mbps_rd?:num mbps_rd_max?:num mbps_wr?:num mbps_wr_max?:num"""

_DRIVE = f"""*file:volume-or-path aio?:(native|threads|io_uring) backup?:bool
cache?:(none|writethrough|writeback|unsafe|directsync) detect_zeroes?:bool discard?:(ignore|on)
format?:(raw|qcow|qed|qcow2|vmdk|cloop) import-from?:volume-or-path media?:(cdrom|disk) replicate?:bool
rerror?:(ignore|report|stop) serial?:urlencoded<..60> shared?:bool size?:disk-size snapshot?:bool
werror?:(enospc|ignore|report|stop) {_LIMITS}"""

_DRIVE_ALIASES = {
    "volume": ("file", ""),
    "bps_rd_length": ("bps_rd_max_length", ""),
    "bps_wr_length": ("bps_wr_max_length", ""),
    "iops_rd_length": ("iops_rd_max_length", ""),
    "iops_wr_length": ("iops_wr_max_length", ""),
}

NET_MODELS = (
    "e1000|e1000-82540em|e1000-82544gc|e1000-82545em|e1000e|i82551|i82557b|i82559er|ne2k_isa|ne2k_pci|pcnet|rtl8139"
    "|virtio|vmxnet3"
)


@dataclass(frozen=True)
class PropertyString:
    """A declaration (see params.py) and its aliases: key → (the key meant, the key that takes its value or "")."""

    declaration: str
    aliases: Mapping[str, tuple[str, str]] = field(default_factory=dict)


PROPERTY_STRINGS = {
    "ide": PropertyString(_DRIVE + " model?:urlencoded<..120> ssd?:bool wwn?:wwn", _DRIVE_ALIASES),
    "sata": PropertyString(_DRIVE + " ssd?:bool wwn?:wwn", _DRIVE_ALIASES),
    "scsi": PropertyString(
        _DRIVE
        + " iothread?:bool product?:str queues?:int[2..] ro?:bool scsiblock?:bool ssd?:bool vendor?:str wwn?:wwn",
        _DRIVE_ALIASES,
    ),
    "virtio": PropertyString(_DRIVE + " iothread?:bool ro?:bool", _DRIVE_ALIASES),
    "efidisk": PropertyString(
        "*file:volume-or-path efitype?:(2m|4m) format?:(raw|qcow|qed|qcow2|vmdk|cloop) import-from?:volume-or-path"
        " ms-cert?:(2011|2023|2023w|2023k) pre-enrolled-keys?:bool size?:disk-size",
        {"volume": ("file", "")},
    ),
    "tpmstate": PropertyString(
        "*file:volume-or-path format?:(raw|qcow2|vmdk) import-from?:volume-or-path size?:disk-size"
        " version?:(v1.2|v2.0)",
        {"volume": ("file", "")},
    ),
    "unused": PropertyString("*file:volume-id", {"volume": ("file", "")}),
    "net": PropertyString(
        f"*model:({NET_MODELS}) bridge?:bridge-id firewall?:bool host-tunnel?:bool link_down?:bool macaddr?:mac-addr"
        " mtu?:int[1..65520] queues?:int[0..64] rate?:num[0..] tag?:int[1..4094] trunks?:vlan-trunks",
        dict.fromkeys(NET_MODELS.split("|"), ("model", "macaddr")),
    ),
    "agent": PropertyString(
        "*enabled:bool freeze-fs?:bool fstrim_cloned_disks?:bool type?:(virtio|isa)",
        {"freeze-fs-on-backup": ("freeze-fs", ""), "guest-fsfreeze": ("freeze-fs", "")},
    ),
    "memory": PropertyString("*current:int[16..]"),
    "machine": PropertyString(
        "aw-bits?:num[32..64] enable-s3?:bool enable-s4?:bool *type?:machine-type<..40> viommu?:(intel|virtio)"
    ),
    "vga": PropertyString(
        "clipboard?:(vnc) memory?:int[4..512] *type?:(cirrus|qxl|qxl2|qxl3|qxl4|none|serial0|serial1|serial2|serial3"
        "|std|virtio|virtio-gl|vmware)"
    ),
    "audio": PropertyString("device:(ich9-intel-hda|intel-hda|AC97) driver?:(spice|none)"),
    "rng": PropertyString("*source:(/dev/urandom|/dev/random|/dev/hwrng) max_bytes?:int period?:int"),
    "virtiofs": PropertyString(
        "*dirid:configid cache?:(auto|always|metadata|never) direct-io?:bool expose-acl?:bool expose-xattr?:bool"
    ),
    "spice": PropertyString("foldersharing?:bool videostreaming?:(off|all|filter)"),
    "ivshmem": PropertyString("size:int[1..] name?:str"),
    "numa": PropertyString("cpus:vlan-trunks hostnodes?:vlan-trunks memory?:num policy?:(preferred|bind|interleave)"),
    "smbios": PropertyString(
        "base64?:bool family?:str manufacturer?:str product?:str serial?:str sku?:str uuid?:uuid version?:str"
    ),
}
