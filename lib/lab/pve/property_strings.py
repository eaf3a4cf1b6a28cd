"""Own the declarations of property strings: options whose value is itself `a=1,b=2` (disks, networks, agent …)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from lib.lab.pve.cpu_models import need_model

_LIMITS = """bps?:int bps_max_length?:int[1..] bps_rd?:int bps_rd_max_length?:int[1..] bps_wr?:int
bps_wr_max_length?:int[1..] iops?:int iops_max?:int iops_max_length?:int[1..] iops_rd?:int iops_rd_max?:int
iops_rd_max_length?:int[1..] iops_wr?:int iops_wr_max?:int iops_wr_max_length?:int[1..] mbps?:num mbps_max?:num
mbps_rd?:num mbps_rd_max?:num mbps_wr?:num mbps_wr_max?:num"""

_DRIVE = f"""*file:volume-id-or-qm-path aio?:(native|threads|io_uring) backup?:bool
cache?:(none|writethrough|writeback|unsafe|directsync) detect_zeroes?:bool discard?:(ignore|on) cyls?:int@8
heads?:int@8 secs?:int@8 trans?:(none|lba|auto)@8 format?:(raw|qcow|qed|qcow2|vmdk|cloop)
import-from?:volume-id-or-absolute-path media?:(cdrom|disk) replicate?:bool rerror?:(ignore|report|stop)
serial?:urlencoded<..60> shared?:bool size?:disk-size snapshot?:bool werror?:(enospc|ignore|report|stop) {_LIMITS}"""

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


class PropertyString(msgspec.Struct, frozen=True):
    """A declaration (see params.py) and its aliases.

    An alias names the key that is meant, and the key that takes the alias itself as its value, or "".
    `need` raises ValueError where the properties, each right by itself, are wrong together.
    """

    declaration: str
    aliases: Mapping[str, tuple[str, str]] = {}
    need: Callable[[Mapping[str, Any]], None] | None = None


def _need_one_way(kept: Mapping[str, Any]) -> None:
    """Refuse to keep all backups and to keep some."""
    if kept.get("keep-all") and any(value for name, value in kept.items() if name != "keep-all"):
        raise ValueError("keep-all cannot be set together with other options.")


PROPERTY_STRINGS = {
    "ide": PropertyString(_DRIVE + " model?:urlencoded<..120> ssd?:bool wwn?:wwn", _DRIVE_ALIASES),
    "sata": PropertyString(_DRIVE + " ssd?:bool wwn?:wwn", _DRIVE_ALIASES),
    "scsi": PropertyString(
        _DRIVE + " iothread?:bool product?:scsi-product queues?:int[2..] ro?:bool scsiblock?:bool ssd?:bool"
        " vendor?:scsi-vendor wwn?:wwn",
        _DRIVE_ALIASES,
    ),
    "virtio": PropertyString(_DRIVE + " iothread?:bool ro?:bool", _DRIVE_ALIASES),
    "efidisk": PropertyString(
        "*file:volume-id-or-qm-path efitype?:(2m|4m) format?:(raw|qcow|qed|qcow2|vmdk|cloop) pre-enrolled-keys?:bool"
        " import-from?:volume-id-or-absolute-path ms-cert?:(2011|2023|2023w|2023k)@9 size?:disk-size",
        {"volume": ("file", "")},
    ),
    "tpmstate": PropertyString(
        "*file:volume-id-or-qm-path format?:(raw|qcow2|vmdk)@9 import-from?:volume-id-or-absolute-path size?:disk-size"
        " version?:(v1.2|v2.0)",
        {"volume": ("file", "")},
    ),
    "unused": PropertyString("*file:volume-id", {"volume": ("file", "")}),
    "net": PropertyString(
        f"*model:({NET_MODELS}) bridge?:bridge-id firewall?:bool host-tunnel?:bool@9 link_down?:bool macaddr?:mac-addr"
        " mtu?:int[1..65520] queues?:int[0..64] rate?:num[0..] tag?:int[1..4094] trunks?:vlan-trunks",
        dict.fromkeys(NET_MODELS.split("|"), ("macaddr", "model")),
    ),
    "agent": PropertyString(
        "*enabled:bool freeze-fs?:bool@9 freeze-fs-on-backup?:bool@8 fstrim_cloned_disks?:bool type?:(virtio|isa)",
        {"freeze-fs-on-backup": ("freeze-fs", ""), "guest-fsfreeze": ("freeze-fs", "")},
    ),
    "memory": PropertyString("*current:int[16..]"),
    "machine": PropertyString(
        "aw-bits?:num[32..64]@9 enable-s3?:bool enable-s4?:bool *type?:machine-type<..40> viommu?:(intel|virtio)"
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
    "boot": PropertyString("*legacy?:boot-letters order?:qm-bootdev-list"),
    "ipconfig": PropertyString("gw?:ipv4!ip gw6?:ipv6!ip6 ip?:ipv4-config ip6?:ipv6-config"),
    "cicustom": PropertyString("meta?:volume-id network?:volume-id user?:volume-id vendor?:volume-id"),
    "cpu": PropertyString(
        "*cputype?:str flags?:cpu-flags guest-phys-bits?:int[32..64] hidden?:bool hv-vendor-id?:hv-vendor"
        " phys-bits?:phys-bits reported-model?:str",
        need=need_model,
    ),
    "sev": PropertyString(
        "*type:(std|es|snp)<..3> allow-smt?:bool kernel-hashes?:bool no-debug?:bool no-key-sharing?:bool"
    ),
    "tdx": PropertyString("*type:str attestation?:bool vsock-cid?:int[2..] vsock-port?:int[0..]"),
    "hostpci": PropertyString(
        "*host?:pci-addresses device-id?:pci-id legacy-igd?:bool mapping?:configid mdev?:mediated-type pcie?:bool"
        " rombar?:bool romfile?:rom-file sub-device-id?:pci-id sub-vendor-id?:pci-id vendor-id?:pci-id x-vga?:bool"
        " driver?:(vfio|keep)"
    ),
    "usb": PropertyString("*host?:usb-device mapping?:configid usb3?:bool"),
    "watchdog": PropertyString("*model?:(i6300esb|ib700) action?:(reset|shutdown|poweroff|pause|debug|none)"),
    "bwlimit": PropertyString("clone?:num[0..] default?:num[0..] migration?:num[0..] move?:num[0..] restore?:num[0..]"),
    "prune-backups": PropertyString(
        "keep-all?:bool keep-daily?:int[0..] keep-hourly?:int[0..] keep-last?:int[0..] keep-monthly?:int[0..]"
        " keep-weekly?:int[0..] keep-yearly?:int[0..]",
        need=_need_one_way,
    ),
    "backup-fleecing": PropertyString("*enabled?:bool storage?:storage-id"),
    "backup-performance": PropertyString("max-workers?:int[1..256] pbs-entries-max?:int[1..]"),
    "crs": PropertyString(
        "ha?:(basic|static)@8 ha?:(basic|static|dynamic)@9 ha-rebalance-on-start?:bool ha-auto-rebalance?:bool@9"
        " ha-auto-rebalance-hold-duration?:num[0..]!ha-auto-rebalance@9"
        " ha-auto-rebalance-margin?:num[0..100]!ha-auto-rebalance@9"
        " ha-auto-rebalance-method?:(bruteforce|topsis)!ha-auto-rebalance@9"
        " ha-auto-rebalance-threshold?:num[0..100]!ha-auto-rebalance@9"
    ),
    "ha": PropertyString("shutdown_policy:(freeze|failover|conditional|migrate)"),
    "migration": PropertyString("*type:(secure|insecure) network?:CIDR"),
    "replication": PropertyString("*type:(secure|insecure) network?:CIDR"),
    "next-id": PropertyString("lower?:int upper?:int"),
    "notify": PropertyString(
        "fencing?:(always|never) package-updates?:(auto|always|never) replication?:(always|never)"
        " target-fencing?:str target-package-updates?:str target-replication?:str"
    ),
    "tag-style": PropertyString(
        "case-sensitive?:bool color-map?:tag-colors ordering?:(config|alphabetical) shape?:(full|circle|dense|none)"
    ),
    "u2f": PropertyString("appid?:str origin?:str"),
    "user-tag-access": PropertyString("user-allow?:(none|list|existing|free) user-allow-list?:tag-names"),
    "webauthn": PropertyString("allow-subdomains?:bool id?:str origin?:str rp?:str"),
    "realm-sync-options": PropertyString(
        "enable-new?:bool full?:bool purge?:bool remove-vanished?:vanished scope?:(users|groups|both)"
    ),
    "tfa-config": PropertyString("type:(yubico|oath) digits?:int[6..8] id?:str key?:str step?:int[10..] url?:str"),
    "spice": PropertyString("foldersharing?:bool videostreaming?:(off|all|filter)"),
    "ivshmem": PropertyString("size:int[1..] name?:shm-name"),
    "numa": PropertyString("cpus:vlan-trunks hostnodes?:vlan-trunks memory?:num policy?:(preferred|bind|interleave)"),
    "smbios": PropertyString(
        "base64?:bool family?:base64-text manufacturer?:base64-text product?:base64-text serial?:base64-text"
        " sku?:base64-text uuid?:uuid-of-board version?:base64-text"
    ),
}
