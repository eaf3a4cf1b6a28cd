"""Own the settings of the datacenter (datacenter.cfg), and what they say of guests' tags.

Tags are kept as pve-guest-common does: sorted and in small letters, unless the settings say otherwise. Who may give
or take one depends on them, too; registered ones are for those who may modify the system.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lib.lab.pve.answers import denied
from lib.lab.pve.formats import split_list
from lib.lab.pve.params import declared, property_string
from lib.lab.pve.property_strings import PROPERTY_STRINGS
from lib.lab.pve.rights import Caller, major
from lib.lab.world import World

_OF_PROPERTIES = (
    *("crs", "ha", "migration", "next-id", "notify", "replication", "tag-style", "u2f", "user-tag-access"),
    "webauthn",
)


FRESH = {"keyboard": "en-us"}
_FIRST, _END = 100, 1000000  # of the ids that are given out


def settings(world: World) -> dict[str, Any]:
    """Return the settings of the datacenter as they are read: those made of properties taken apart."""
    stored = world.get("meta", "options")
    kept: dict[str, Any] = {"mac_prefix": "BC:24:11"} | (FRESH if stored is None else stored)
    text = str(kept.get("description", "")).rstrip("\n")
    kept["description"] = f"{text}\n" if text else ""  # it is a comment, line by line
    for name in _OF_PROPERTIES:
        if isinstance(kept.get(name), str):
            kept[name] = property_string(name, kept[name])
    access = kept.get("user-tag-access", {})
    for holder, name in ((access, "user-allow-list"), (kept, "registered-tags")):
        if isinstance(holder.get(name), str):
            holder[name] = sorted(set(split_list(holder[name])))
    return kept


def shown(world: World) -> dict[str, Any]:
    """Return the settings as the API shows them: of what is made of properties only the flags are numbers."""
    found = settings(world)
    for name in _OF_PROPERTIES:
        if isinstance(found.get(name), dict):
            known = declared(PROPERTY_STRINGS[name].declaration, major(world))
            found[name] = {
                key: str(value) if key in known and known[key].kind in ("integer", "number") else value
                for key, value in found[name].items()
            }
    return found


def ids(kept: Mapping[str, Any]) -> tuple[int, int]:
    """Return the first id that is given out, and the one where it ends."""
    bounds = kept.get("next-id", {})
    return int(bounds.get("lower", _FIRST)), int(bounds.get("upper", _END))


def unique_tags(world: World, text: str) -> str:
    """Return tags as a guest keeps them."""
    style = settings(world).get("tag-style", {})
    exact = bool(style.get("case-sensitive"))
    tags = split_list(text)
    if style.get("ordering") != "config":
        tags = sorted(tags, key=str if exact else str.lower)
    return ";".join(dict.fromkeys(tags if exact else map(str.lower, tags)))


def need_tags(world: World, who: Caller, before: str, after: str) -> None:
    """Refuse unless the caller may give and take the tags by which two values differ."""
    if who.may("/", "Sys.Modify"):
        return
    kept = settings(world)
    free = kept.get("user-tag-access", {}).get("user-allow", "free") == "free"
    allowed = allowed_tags(world, who)
    for tag in sorted(set(split_list(before)) ^ set(split_list(after))):
        if tag in kept.get("registered-tags", ()) or not (free or tag in allowed):
            raise denied("/", f"Sys.Modify for modifying tag '{tag}'")


def allowed_tags(world: World, who: Caller) -> set[str]:
    """Return the tags that the caller may give, of those that there are (PVE::GuestHelpers, get_allowed_tags)."""
    kept, privileged = settings(world), who.may("/", "Sys.Modify")
    access, registered = kept.get("user-tag-access", {}), set(kept.get("registered-tags", ()))
    allow = access.get("user-allow", "free")
    found = set(access.get("user-allow-list", ())) if privileged or allow != "none" else set()
    for vmid, guest in world.all("guest").items() if privileged or allow in ("free", "existing") else ():
        if privileged or who.may(f"/vms/{vmid}", "VM.Audit"):
            found |= set(split_list(str(guest["config"].get("tags", ""))))
    return found | registered if privileged else found - registered
