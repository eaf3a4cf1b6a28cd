"""Own how volumes are named on each type of storage: what a name says of the volume, and the complaint if nothing.

Read in parse_volname of PVE::Storage::Plugin and of the plugins (pve-storage).
"""

from __future__ import annotations

import re

from lib.lab.pve.answers import failure
from lib.lab.world import Document

_DISK = r"(?:vm|base|subvol)-(?P<owner>\d+)-[^/\s]+"
_IMAGE = r"(?:vm|base|subvol)-\d+-[^/\s]+\.(?:raw|qcow2|vmdk|subvol)"
_FILES = {
    "iso": r"iso/[^/]+\.(?i:iso|img)",
    "vztmpl": r"vztmpl/[^/]+\.tar\.(?i:gz|xz|zst|bz2)",
    "rootdir": r"rootdir/(?P<owner>\d+)",
    "backup": r"backup/[^/]+\.(?:tgz|(?:tar|vma)(?:\.(?:gz|lzo|zst|bz2))?)",
    "snippets": r"snippets/[^/]+",
    "import": r"import/[\w.+=@: -]+\.(?i:ova|ovf|qcow2|raw|vmdk)",
    "images": rf"(?:\d+/{_IMAGE}/)?\d+/{_DISK}\.(?:raw|qcow2|vmdk|subvol)",
}
# Type of storage → its name in the complaint, and what is a disk's name there.
_BLOCKS = {
    "rbd": ("rbd", rf"(?:base-\d+-\S+/)?{_DISK}"),
    "lvm": ("lvm", r"(?:vm|snap_vm)-(?P<owner>\d+)-\S+"),
    "lvmthin": ("lvm", rf"(?:base-\d+-\S+/)?{_DISK}"),
    "zfspool": ("zfs", rf"(?:(?:base|basevol)-\d+-\S+/)?{_DISK}"),
}


def fits(kind: str, file: str) -> bool:
    """Tell whether a file may be one of that kind of content, by its name."""
    return re.fullmatch(_FILES[kind], f"{kind}/{file}") is not None


def parse(section: Document, volume: str) -> tuple[str, int | None]:
    """Return what kind of content a volume is (`images`, `iso` …), and whose.

    Raises:
        Refusal: where it is no name of a volume on that type of storage.
    """
    if section["type"] in _BLOCKS:
        told, pattern = _BLOCKS[section["type"]]
        match = re.fullmatch(pattern, volume)
        if match is None:
            raise failure(f"unable to parse {told} volume name '{volume}'")
        return "images", int(match["owner"])
    for kind, pattern in _FILES.items():
        if match := re.fullmatch(pattern, volume):
            return kind, int(match["owner"]) if "owner" in match.groupdict() else None
    linked = re.fullmatch(r"\d+/(\S+)/\d+/\S+", volume)  # the base's name is looked at first
    if linked and not re.fullmatch(_IMAGE, linked[1]):
        raise failure(f"unable to parse volume filename '{linked[1]}'")
    if inner := re.fullmatch(r"\d+/(\S+)", volume):
        raise failure(f"unable to parse volume filename '{inner[1]}'")
    raise failure(f"unable to parse directory volume name '{volume}'")
