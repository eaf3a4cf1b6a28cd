"""Own the base template: the guest made from the cloud image, its drift, and when it may be made anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import msgspec
from msgspec.structs import replace

from lib.config.model import Cluster
from lib.engine.step import UNKNOWN, Change, Danger, Inputs, Step, Unknown
from lib.errors import Problem, RefusedError
from lib.facts import cluster as facts
from lib.steps.cloud_image import CloudImage, Image
from lib.steps.session import Session

DESTROY = "destroy-base-template"
ORIGIN = "Groundwork base template, made from "
DISK_KEYS = ("scsi", "virtio", "sata", "ide", "efidisk")
DISK_OPTIONS = {"discard": "on", "iothread": "1", "ssd": "1"}
EFI_OPTIONS = {"efitype": "4m", "pre-enrolled-keys": "0"}
# The key that a change sets, where it is no plain attribute.
SETS = {"net0": "net0", "disk options": "scsi0", "EFI disk options": "efidisk0", "cloud-init drive": "ide2"}


class Wanted(msgspec.Struct, frozen=True):
    """The template as it should be: image, and configuration keys as Proxmox shows them."""

    image: Image
    config: tuple[tuple[str, str], ...]


class Seen(msgspec.Struct, frozen=True):
    """The guest of our VMID, where there is one, its configuration, and the volumes cloned from its disks.

    Of a guest that a task is just making nothing else is known.
    """

    guest: facts.Guest | None
    config: tuple[tuple[str, str], ...]
    clones: tuple[str, ...]
    being_made: bool = False

    @property
    def template(self) -> bool:
        """Tell whether it is a template by now; the listing would say so seconds later."""
        return ("template", "1") in self.config


class Template(msgspec.Struct, frozen=True):
    """What Packer clones."""

    vmid: int
    node: str
    lineage: str


class BaseTemplate(Step[Session, Seen, Wanted, Template]):
    """Keep the base template as configured. API: /nodes/{node}/qemu."""

    name: ClassVar[str] = "base_template"
    needs: ClassVar[tuple[str, ...]] = ("cloud_image", "packer_user")
    overrides: ClassVar[tuple[str, ...]] = (DESTROY,)

    def __init__(self, cluster: Cluster, rebuild: bool = False, backup: str = "") -> None:
        """`rebuild` destroys and makes it anew; `backup` is a storage that gets a vzdump of it first."""
        self._cluster = cluster
        self._base = cluster.images.base
        self._rebuild = rebuild
        self._backup = backup

    def desired(self, inputs: Inputs) -> Wanted | Unknown:
        """Want a template made from the image that the step before made."""
        image = inputs.of(CloudImage)
        if isinstance(image, Unknown):
            return UNKNOWN
        config = {
            "name": self._base.name,
            "description": f"{ORIGIN}{image.volume}, lineage {image.lineage}",
            "tags": self._cluster.proxmox.tag,
            "cores": str(self._base.cores),
            "memory": str(self._base.memory_mib),
            "cpu": "x86-64-v2-AES",
            "ostype": "l26",
            "bios": "ovmf",
            "machine": "q35",
            "scsihw": "virtio-scsi-single",
            "boot": "order=scsi0",
            "serial0": "socket",
            "vga": "serial0",
            "agent": "enabled=1",
            "ciuser": self._cluster.images.user,
            "ciupgrade": "0",
            "ipconfig0": "ip=dhcp",
        }
        return Wanted(image, tuple(config.items()))

    def observe(self, at: Session, recent: bool) -> Seen:
        """Find the guest in the cluster's one listing; read its configuration and what is cloned from it."""
        guest = self._guest(at.pve.once("/cluster/resources"))
        if guest is not None and guest.lock == "create":
            if at.pve.running_task(guest.node, "qmcreate", str(guest.vmid)) is not None:
                return Seen(guest, (), (), being_made=True)
            guest = self._guest(at.pve.get("/cluster/resources"))  # as it was left
        if guest is None:
            return Seen(None, (), ())
        config: Mapping[str, Any] = at.pve.get(f"/nodes/{guest.node}/qemu/{guest.vmid}/config")
        ours = tuple(sorted((str(k), str(v).rstrip("\n")) for k, v in config.items() if k not in ("digest", "meta")))
        seen = Seen(guest, ours, ())
        return replace(seen, clones=self._clones(at, guest)) if seen.template else seen

    def _guest(self, resources: Iterable[Mapping[str, Any]]) -> facts.Guest | None:
        return next((guest for guest in facts.guests(resources) if guest.vmid == self._base.vmid), None)

    def _clones(self, at: Session, guest: facts.Guest) -> tuple[str, ...]:
        """Return the volumes of other guests that hang on this template's disks."""
        path = f"/nodes/{guest.node}/storage/{self._cluster.proxmox.storage}/content"
        stem = f"base-{guest.vmid}-disk-"
        found = {
            str(row["volid"])
            for row in at.pve.get(path, content="images")
            if int(row.get("vmid") or 0) != guest.vmid
            and (stem in str(row.get("parent") or "") or f":{stem}" in str(row["volid"]))
        }
        return tuple(sorted(found))

    # ------------------------------------------------------------- compare

    def _net(self) -> str:
        return f"virtio,bridge={self._cluster.proxmox.bridge}"

    def _drive(self) -> str:
        return f"{self._cluster.proxmox.storage}:cloudinit"

    def _mine(self, seen: Seen) -> bool:
        return seen.guest is not None and self._cluster.proxmox.tag in seen.guest.tags

    def _fatal(self, seen: Seen, wanted: Wanted) -> Iterator[Change]:
        """Yield the differences that only a new guest can close."""
        have = dict(seen.config)
        if f"lineage {wanted.image.lineage}" not in have.get("description", ""):
            yield Change("lineage", have.get("description") or None, wanted.image.lineage)
        for key, what in (("scsi0", "system disk"), ("efidisk0", "EFI disk")):
            if not have.get(key, "").startswith(f"{self._cluster.proxmox.storage}:"):
                yield Change(what, have.get(key), f"on {self._cluster.proxmox.storage}")
        size = facts.size_gib(facts.options(have.get("scsi0", "")).get("size", ""))
        if size > self._base.disk_gib:
            yield Change("disk size", f"{size:g} GiB", f"{self._base.disk_gib} GiB")

    def _mendable(self, seen: Seen, wanted: Wanted) -> Iterator[Change]:
        """Yield the differences that are closed in place."""
        have = dict(seen.config)
        for key, value in wanted.config:
            if have.get(key) != value:
                yield Change(key, have.get(key), value)
        net = facts.options(have.get("net0", ""))
        if net | {"virtio": ""} != {"virtio": "", "bridge": self._cluster.proxmox.bridge}:
            yield Change("net0", have.get("net0"), self._net())
        disk = facts.options(have.get("scsi0", ""))  # where a disk is missing, only a new guest helps
        if "scsi0" in have and disk != {"": disk.get(""), "size": disk.get("size")} | DISK_OPTIONS:
            yield Change("disk options", have.get("scsi0"), f"{disk.get('')},{_joined(DISK_OPTIONS)}")
        efi = facts.options(have.get("efidisk0", ""))
        if "efidisk0" in have and efi != {"": efi.get(""), "size": efi.get("size")} | EFI_OPTIONS:
            yield Change("EFI disk options", have.get("efidisk0"), f"{efi.get('')},{_joined(EFI_OPTIONS)}")
        drive = facts.options(have.get("ide2", "")).get("", "")
        if not (drive.startswith(f"{self._cluster.proxmox.storage}:") and "cloudinit" in drive):
            yield Change("cloud-init drive", have.get("ide2"), self._drive())
        size = facts.size_gib(disk.get("size", ""))
        if "scsi0" in have and size < self._base.disk_gib:
            yield Change("disk size", f"{size:g} GiB", f"{self._base.disk_gib} GiB")
        known = ("scsi0", "efidisk0", "ide2")
        for key, value in have.items():
            if key.rstrip("0123456789") in DISK_KEYS and key not in known:
                yield Change(key, value, None)  # a disk is let go, never lost: Proxmox keeps it as an unused one
        assert seen.guest is not None
        if seen.guest.pool != self._cluster.proxmox.pool:
            yield Change("pool", seen.guest.pool or None, self._cluster.proxmox.pool)
        if not seen.template:
            yield Change("template", "0", "1")

    def changes(self, seen: Seen, wanted: Wanted) -> Iterator[Change]:
        """Compare every attribute that we set, the disks, the template flag and the lineage."""
        if seen.guest is None:
            yield Change("guest", None, f"VM {self._base.vmid} {self._base.name}")
            return
        if seen.being_made:
            yield Change("guest", "being made", f"VM {self._base.vmid} {self._base.name}")
            return
        if self._rebuild:
            yield Change("guest", f"VM {self._base.vmid}", "made anew")
        yield from self._fatal(seen, wanted)
        yield from self._mendable(seen, wanted)

    def _anew(self, seen: Seen, wanted: Wanted) -> bool:
        known = seen.guest is not None and not seen.being_made
        return known and (self._rebuild or any(True for _ in self._fatal(seen, wanted)))

    def problems(self, seen: Seen, wanted: Wanted) -> Iterator[Problem]:
        """Yield a guest on our VMID that is not ours, or not to be known as such."""
        if seen.being_made:
            return
        if seen.guest is not None and not self._mine(seen) and seen.guest.lock == "create":
            yield Problem(
                f"VM {self._base.vmid}",
                f"was left half made, and whose it is does not show (no task makes it on {seen.guest.node})",
                f"if nobody needs it, on {seen.guest.node}: "
                f"qm unlock {self._base.vmid} && qm destroy {self._base.vmid}",
                refused=True,
            )
        elif seen.guest is not None and not self._mine(seen):
            yield Problem(
                f"VM {self._base.vmid}",
                f"is somebody else's ('{seen.guest.name}' on {seen.guest.node}, "
                f"without our tag '{self._cluster.proxmox.tag}')",
                "set another images.base.vmid in cluster.toml; foreign guests are never touched",
                "images.base.vmid",
                refused=True,
            )

    def dangers(self, seen: Seen, wanted: Wanted) -> Iterator[Danger]:
        """Yield what forbids a rebuild, and the destruction of what may hold something.

        Only a template of ours that never got finished does not; the tag alone does not tell one: clones of guests of
        ours carry it, too.
        """
        if not self._anew(seen, wanted) or seen.guest is None:
            return
        vm = f"VM {seen.guest.vmid}"
        if seen.clones:
            what = f"cannot be made anew while linked clones hang on it ({', '.join(seen.clones[:4])})"
            fix = "destroy those guests, or make them full clones (move their disks), then run again"
            yield Danger("", f"{vm} {what}", fix)
        if ("protection", "1") in seen.config:
            fix = f"if it may go, on its host: qm set {seen.guest.vmid} --protection 0"
            yield Danger("", f"{vm} is protected, and cannot be made anew", fix)
        made = dict(seen.config).get("description", "").startswith(ORIGIN)
        if seen.template or not made:
            why = "asked for" if self._rebuild else ", ".join(c.attribute for c in self._fatal(seen, wanted))
            disks = sum(1 for key, _ in seen.config if key.rstrip("0123456789") in (*DISK_KEYS, "unused"))
            yield Danger(
                DESTROY,
                f"{vm} '{seen.guest.name}' on {seen.guest.node} with {disks} disks would be destroyed ({why})",
            )

    # --------------------------------------------------------------- apply

    def apply(self, at: Session, seen: Seen, wanted: Wanted) -> None:
        """Make, mend or make anew; after an interruption, wait for what still runs, and look again in any case.

        What ran when it was planned may have ended before it was looked for.
        """
        self._wait_for_earlier(at, seen, wanted)
        at.pve.forget()
        seen = self.observe(at, False)
        forbidden = any(not danger.override for danger in self.dangers(seen, wanted))
        if seen.being_made or forbidden or next(iter(self.problems(seen, wanted)), None):
            raise RefusedError(f"VM {self._base.vmid}", "has changed since it was planned", "run the command again")
        if self._anew(seen, wanted):
            self._destroy(at, seen)
            seen = Seen(None, (), ())
        if seen.guest is None:
            self._create(at, wanted)
            seen = self.observe(at, False)
        self._mend(at, seen, wanted)
        self._rebuild = False

    def _wait_for_earlier(self, at: Session, seen: Seen, wanted: Wanted) -> None:
        node = seen.guest.node if seen.guest else wanted.image.node
        for kind in ("qmcreate", "resize", "qmtemplate", "qmdestroy"):
            running = at.pve.running_task(node, kind, str(self._base.vmid))
            if running is not None:
                at.pve.task(running, f"the {kind} that an earlier run began", at.limit(1800))

    def _destroy(self, at: Session, seen: Seen) -> None:
        assert seen.guest is not None
        path = f"/nodes/{seen.guest.node}/qemu/{seen.guest.vmid}"
        if self._backup:
            at.pve.run(
                "POST",
                f"/nodes/{seen.guest.node}/vzdump",
                f"backup of VM {seen.guest.vmid} to {self._backup}",
                at.limit(3600),
                vmid=seen.guest.vmid,
                storage=self._backup,
                mode="stop",
            )
        # No purge: its number stays, and with it the user's backup jobs. What only bears that number is not ours.
        at.pve.run("DELETE", path, f"destruction of VM {seen.guest.vmid}", at.limit(600))

    def _create(self, at: Session, wanted: Wanted) -> None:
        storage = self._cluster.proxmox.storage
        at.pve.run(
            "POST",
            f"/nodes/{wanted.image.node}/qemu",
            f"creation of VM {self._base.vmid}",
            at.limit(1800),
            vmid=self._base.vmid,
            pool=self._cluster.proxmox.pool,
            efidisk0=f"{storage}:1,{_joined(EFI_OPTIONS)}",
            scsi0=f"{storage}:0,import-from={wanted.image.volume},{_joined(DISK_OPTIONS)}",
            ide2=self._drive(),
            net0=self._net(),
            **dict(wanted.config),
        )

    def _mend(self, at: Session, seen: Seen, wanted: Wanted) -> None:
        assert seen.guest is not None
        path = f"/nodes/{seen.guest.node}/qemu/{seen.guest.vmid}"
        todo = {change.attribute: change for change in self._mendable(seen, wanted)}
        settings = {key: value for key, value in wanted.config if key in todo}
        settings |= {key: str(todo[what].after) for what, key in SETS.items() if what in todo}
        extra = [key for key, change in todo.items() if change.after is None]
        if extra:
            settings["delete"] = ",".join(extra)
        if settings:
            at.pve.put(f"{path}/config", **settings)
        if "disk size" in todo:
            at.pve.run(
                "PUT",
                f"{path}/resize",
                "growing of the disk",
                at.limit(300),
                disk="scsi0",
                size=f"{self._base.disk_gib}G",
            )
        if "pool" in todo:
            at.pve.put("/pools", poolid=self._cluster.proxmox.pool, vms=str(seen.guest.vmid), **{"allow-move": 1})
        if "template" in todo:
            at.pve.run("POST", f"{path}/template", "conversion to a template", at.limit(600))

    def remarks(self, seen: Seen) -> Iterator[str]:
        """Yield disks that the template has let go."""
        for key, value in seen.config:
            if key.startswith("unused"):
                yield f"VM {self._base.vmid} still owns a disk that it does not use ({key}: {value}); remove it there"

    def output(self, seen: Seen, wanted: Wanted) -> Template:
        """Give what to clone."""
        assert seen.guest is not None
        return Template(seen.guest.vmid, seen.guest.node, wanted.image.lineage)

    def reason(self, seen: Seen, wanted: Wanted) -> str:
        """Say how much was compared."""
        return f"VM {self._base.vmid} matches ({len(wanted.config) + 10} attributes compared)"


def _joined(options: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in options.items())
