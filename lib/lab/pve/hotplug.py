"""Own which changes a running guest takes on at once; all others wait for its next start.

What needs the system in the guest to help (unplugging a network device) is taken to be helped.
"""

from __future__ import annotations

import re
from typing import Any

from lib.lab.pve.guest_options import CLOUDINIT, drive_kind, is_drive
from lib.lab.pve.params import property_string
from lib.lab.world import Document

_ALWAYS = """description hookscript lock migrate_downtime migrate_speed name onboot protection shares startup tags
vmstatestorage cpulimit cpuunits"""
_FEATURES = {"tablet": "usb", "vcpus": "cpu", "memory": "memory"}
_NEVER_DRIVES = ("ide", "sata", "efidisk", "tpmstate")
_COLD_PROPERTIES = "aio discard iothread queues product cache ssd vendor ro"


def takes(config: Document, option: str, value: Any) -> bool:
    """Tell whether a running guest takes on an option's new value at once (None: that it goes away)."""
    if option in (*_ALWAYS.split(), *CLOUDINIT) or re.fullmatch(r"ipconfig\d+", option):
        return True
    text = str(config.get("hotplug", "1"))
    features = ("network", "disk", "usb") if text == "1" else text.split(",")
    before = config.get(option)
    if option in _FEATURES:
        return _FEATURES[option] in features
    if option == "hotplug":
        return not re.search(r"cpu|memory", f"{before} {value}")
    if option == "balloon":  # not to have a balloon is a matter of how a guest is started
        return bool(before != 0) == bool(value != 0)
    if option == "agent":
        return value is not None and before is not None and _agent(before) == _agent(value)
    if re.fullmatch(r"net\d+", option):
        return "network" in features or (None not in (before, value) and _card(before) == _card(value))
    return is_drive(option) and _drive(option, before, value, "disk" in features)


def _drive(option: str, before: Any, value: Any, hot: bool) -> bool:
    kind = drive_kind(option)
    old, new = (property_string(kind, str(each)) if each is not None else {} for each in (before, value))
    if old and new and old.get("media") == "cdrom":  # another disc in it
        return True
    if old and old["file"] == new.get("file"):
        return kind not in _NEVER_DRIVES[2:] and all(old.get(key) == new.get(key) for key in _COLD_PROPERTIES.split())
    return hot and kind not in _NEVER_DRIVES


def _agent(text: Any) -> Document:
    return property_string("agent", str(text)) | {"fstrim_cloned_disks": 0}


def _card(text: Any) -> list[Any]:
    net = property_string("net", str(text))
    return [net.get(key) for key in ("model", "macaddr", "queues", "mtu")]
