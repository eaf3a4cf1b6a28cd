"""Own who may do what: roles, privileges, and what an identity holds on a path.

An identity is a user (`root@pam`) or a token (`packer@pve!build-a`). The rules are
those of the real access control: the most specific path's roles replace inherited ones,
a token's rights are cut down to its user's, membership in a pool adds the pool's rights.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from lib.lab.pve.answers import denied
from lib.lab.world import Document, World

ROOT = "root@pam"

_AUDIT = "Datastore.Audit Mapping.Audit Pool.Audit SDN.Audit Sys.Audit VM.Audit VM.GuestAgent.Audit"
_VM_USER = """VM.Audit VM.Backup VM.Config.CDROM VM.Config.Cloudinit VM.Console VM.GuestAgent.Audit
VM.GuestAgent.FileRead VM.GuestAgent.FileSystemMgmt VM.GuestAgent.FileWrite VM.PowerMgmt"""
_VM = f"""{_VM_USER} VM.Allocate VM.Clone VM.Config.CPU VM.Config.Disk VM.Config.HWType VM.Config.Memory
VM.Config.Network VM.Config.Options VM.GuestAgent.Unrestricted VM.Migrate VM.Replicate VM.Snapshot
VM.Snapshot.Rollback"""
_DATASTORE = "Datastore.Allocate Datastore.AllocateSpace Datastore.AllocateTemplate Datastore.Audit"
_USERS = "Group.Allocate Realm.AllocateUser User.Modify"
_SDN = "SDN.Allocate SDN.Audit SDN.Use"
_SYS = "Sys.Audit Sys.Console Sys.Syslog"
_POOL = "Pool.Allocate Pool.Audit"
_ADMIN = f"{_VM} {_DATASTORE} {_USERS} {_SDN} {_SYS} {_POOL} Mapping.Audit Mapping.Use"
_ALL = f"""{_ADMIN} Mapping.Modify Permissions.Modify Realm.Allocate Sys.AccessNetwork Sys.Incoming Sys.Modify
Sys.PowerMgmt"""

_BUILT_IN = {
    "Administrator": _ALL,
    "NoAccess": "",
    "PVEAdmin": _ADMIN,
    "PVEAuditor": _AUDIT,
    "PVEDatastoreAdmin": _DATASTORE,
    "PVEDatastoreUser": "Datastore.AllocateSpace Datastore.Audit",
    "PVEMappingAdmin": "Mapping.Audit Mapping.Modify Mapping.Use",
    "PVEMappingUser": "Mapping.Audit Mapping.Use",
    "PVEPoolAdmin": _POOL,
    "PVEPoolUser": "Pool.Audit",
    "PVESDNAdmin": _SDN,
    "PVESDNUser": "SDN.Audit SDN.Use",
    "PVESysAdmin": _SYS,
    "PVETemplateUser": "VM.Audit VM.Clone",
    "PVEUserAdmin": _USERS,
    "PVEVMAdmin": _VM,
    "PVEVMUser": _VM_USER,
}
_WELL_KNOWN_PATHS = ("/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms")


def major(world: World) -> int:
    """Return the major version of the Proxmox that is simulated."""
    return int(str(world.lab.get("pve", "9.2")).split(".", maxsplit=1)[0])


def _of_version(privileges: str, version: int) -> set[str]:
    """Before 9 the monitor was one privilege, and the agent needed no other."""
    wanted = set(privileges.split())
    if version >= 9:
        return wanted
    old = {name for name in wanted if not name.startswith("VM.GuestAgent.") and name != "VM.Replicate"}
    return old | ({"VM.Monitor"} if "VM.GuestAgent.Unrestricted" in wanted else set())


def privileges(version: int) -> set[str]:
    """Return every privilege of a major version."""
    return _of_version(_ALL, version)


def split_token(identity: str) -> tuple[str, str]:
    """Return user and token id; the latter is empty for a user."""
    user, _, token = identity.partition("!")
    return user, token


class Rights:
    """What the identities of one world may do; made anew for each request."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._roles: dict[str, set[str]] | None = None
        self._acls: list[Document] | None = None
        self._found: dict[tuple[str, str], dict[str, int]] = {}

    # --------------------------------------------------------------- roles

    def known(self) -> set[str]:
        """Return every privilege of this version."""
        return privileges(major(self._world))

    def roles(self) -> dict[str, set[str]]:
        """Return every role with its privileges."""
        if self._roles is None:
            version = major(self._world)
            self._roles = {name: _of_version(text, version) for name, text in _BUILT_IN.items()}
            self._roles |= {name: set(role["privs"]) for name, role in self._world.all("role").items()}
        return self._roles

    @staticmethod
    def is_special(role: str) -> bool:
        """Tell whether the role is built in."""
        return role in _BUILT_IN

    # --------------------------------------------------------------- check

    def may(self, identity: str, path: str, privileges: Iterable[str], any_of: bool = False) -> bool:
        """Tell whether the identity holds all (or any) of the privileges on the path."""
        held = self.permissions(identity, path)
        return any(name in held for name in privileges) if any_of else all(name in held for name in privileges)

    def permissions(self, identity: str, path: str) -> dict[str, int]:
        """Return the privileges on a path, each with whether it propagates."""
        key = (identity, path)
        if key not in self._found:
            self._found[key] = self._permissions(identity, path)
        return self._found[key]

    def _permissions(self, identity: str, path: str) -> dict[str, int]:
        if identity == ROOT:
            return dict.fromkeys(self.known(), 1)
        user, token = split_token(identity)
        found = self._world.peek("token", identity) if token else {}
        if found is None:
            return {}
        if token and not found.get("privsep", 1):
            return self.permissions(user, path)
        held: dict[str, int] = {}
        for role, propagate in self._with_pools(identity, path).items():
            for privilege in self.roles().get(role, ()):
                held[privilege] = held.get(privilege, 0) | propagate
        if token:
            of_user = self.permissions(user, path)
            held = {name: propagate & of_user[name] for name, propagate in held.items() if name in of_user}
        return held

    def _with_pools(self, identity: str, path: str) -> dict[str, int]:
        roles = self._roles_on(identity, path)
        if "NoAccess" in roles:
            return roles
        of_pools = {role: 0 for pool in self._pools_of(path) for role in self._roles_on(identity, f"/pool/{pool}")}
        return {"NoAccess": 0} if "NoAccess" in of_pools else of_pools | roles

    def _pools_of(self, path: str) -> list[str]:
        """Return the pools that a guest or storage is in: a storage may be in several."""
        area, _, name = path.strip("/").partition("/")
        if area == "vms":
            pool = (self._world.peek("guest", name) or {}).get("pool")
            return [pool] if pool else []
        if area == "storage":
            return [pool for pool, found in self._world.all("pool").items() if name in found.get("storages", [])]
        return []

    def _roles_on(self, identity: str, path: str) -> dict[str, int]:
        """Walk down to the path; at each level what is written there replaces what was inherited."""
        if self._acls is None:
            self._acls = list(self._world.all("acl").values())
        groups = set((self._world.get("user", identity) or {}).get("groups", []))
        roles: dict[str, int] = {}
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts) + 1):
            level = "/" + "/".join(parts[:depth])
            final = depth == len(parts)
            here = [acl for acl in self._acls if acl["path"] == level and (final or acl["propagate"])]
            own = [acl for acl in here if acl["type"] in ("user", "token") and acl["ugid"] == identity]
            if not own:
                own = [acl for acl in here if acl["type"] == "group" and acl["ugid"] in groups]
            if own:
                roles = {acl["roleid"]: int(acl["propagate"]) for acl in own}
        return {"NoAccess": roles["NoAccess"]} if "NoAccess" in roles else roles

    def effective(self, identity: str) -> dict[str, dict[str, int]]:
        """Return the privileges on every path that has a meaning of its own."""
        paths = set(_WELL_KNOWN_PATHS)
        for acl in self._world.all("acl").values():
            parts = acl["path"].strip("/").split("/")
            paths |= {"/" + "/".join(parts[:depth]) for depth in range(len(parts) + 1)}
        paths |= {f"/vms/{vmid}" for vmid, guest in self._world.all("guest").items() if guest.get("pool")}
        paths |= {f"/storage/{name}" for pool in self._world.all("pool").values() for name in pool.get("storages", [])}
        found = {path: self.permissions(identity, path) for path in sorted(paths)}
        return {path: held for path, held in found.items() if held}


class Caller(msgspec.Struct):
    """Whoever asks for something: what he may, and the refusal where he may not."""

    identity: str
    rights: Rights

    @property
    def is_root(self) -> bool:
        """Tell whether it is root@pam himself (not one of his tokens)."""
        return self.identity == ROOT

    def may(self, path: str, *privileges: str, any_of: bool = False) -> bool:
        """Tell whether he holds all (or any) of the privileges on the path."""
        return self.rights.may(self.identity, path, privileges, any_of)

    def need(self, path: str, *privileges: str, any_of: bool = False) -> None:
        """Refuse with 403 unless he holds the privileges; named is the first that lacks, or all alternatives."""
        if any_of:
            if not self.may(path, *privileges, any_of=True):
                raise denied(path, "|".join(privileges))
            return
        for privilege in privileges:
            if not self.may(path, privilege):
                raise denied(path, privilege)

    def need_guest(self, vmid: int, pool: str | None, *privileges: str, any_of: bool = False) -> None:
        """Refuse unless he holds the privileges on the guest, or on the pool that it will be in."""
        if pool and self.may(f"/pool/{pool}", *privileges, any_of=any_of):
            return
        self.need(f"/vms/{vmid}", *privileges, any_of=any_of)
