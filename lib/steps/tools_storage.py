"""Own the tools and the directory storage for cloud images: packages, RBD image, ext4, lasting mount, storage.

A filesystem is made only on an image that is proven never written, or that carries our
mark of a formatting that did not end; what is found on any other is named and left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import ClassVar

import msgspec

from lib.clients.ssh import Host
from lib.clients.waiting import wait_for
from lib.command import Result, read, write
from lib.config.model import Cluster
from lib.engine.step import UNKNOWN, Change, Inputs, Step, Unknown
from lib.errors import Problem, RefusedError, StepError
from lib.facts import tools as facts
from lib.render import render
from lib.steps.session import Session
from lib.steps.validation import Validation

APT_SECONDS = 600.0  # how long the host's own timers may be installing something
CONTENT = frozenset({"import", "iso", "snippets"})
UNITS = "/etc/systemd/system"
NONE = frozenset({0, 1})
UNSET = {"nodes": "every host", "disable": "0", "is_mountpoint": "no"}  # what a setting means that is not there
LOCK = "exclusive-lock"  # a host that comes back after the storage has moved cannot map the image a second time
MARK = "groundwork-formatting"  # on the RBD image from before mkfs begins until it has ended; never while mounted
PACKAGES = ("libguestfs-tools", "dhcpcd-base")  # the second one on PVE 9: else virt-customize has no network there


class Wanted(msgspec.Struct, frozen=True):
    """What has to be on the storage host: packages, unit files by path, and the storage's settings."""

    packages: frozenset[str]
    units: tuple[tuple[str, str], ...]
    mount_unit: str
    map_unit: str


class Seen(msgspec.Struct, frozen=True):
    """What is on the storage host. `features` are the RBD image's; None where there is no image."""

    packages: frozenset[str]
    features: frozenset[str] | None
    watchers: tuple[str, ...]
    devices: tuple[str, ...]
    mounted: str | None
    units: tuple[tuple[str, str], ...]
    enabled: bool
    storage: tuple[tuple[str, str], ...] | None


class ImportStorage(msgspec.Struct, frozen=True):
    """A directory storage that takes images: its id, its node, the folder of its import content."""

    storage: str
    node: str
    address: str
    folder: str


class ToolsStorage(Step[Session, Seen, Wanted, ImportStorage]):
    """Keep the image tools and the directory storage on the storage host. API: /storage."""

    name: ClassVar[str] = "tools_storage"
    needs: ClassVar[tuple[str, ...]] = ("validation",)
    promises: ClassVar[bool] = True

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._tools = cluster.tools_storage
        self._host = cluster.host(self._tools.host)
        self._spec = f"{self._tools.ceph_pool}/{self._tools.image}"

    def desired(self, inputs: Inputs) -> Wanted | Unknown:
        """Want packages by PVE version, and systemd units that map and mount at boot."""
        validated = inputs.of(Validation)
        if isinstance(validated, Unknown):
            return UNKNOWN
        packages = PACKAGES if validated.version >= (9, 0) else PACKAGES[:1]
        map_unit = f"groundwork-map-{self._tools.image}.service"
        mount_unit = _unit_of(self._tools.path)
        facts_of_template = {
            "spec": self._spec,
            "device": f"/dev/rbd/{self._spec}",
            "path": self._tools.path,
            "map_unit": map_unit,
        }
        units = (
            (f"{UNITS}/{map_unit}", render("rbd-map.service.j2", **facts_of_template)),
            (f"{UNITS}/{mount_unit}", render("rbd.mount.j2", **facts_of_template)),
        )
        return Wanted(frozenset(packages), units, mount_unit, map_unit)

    def observe(self, at: Session, recent: bool) -> Seen:
        """Read packages, image, mapping, mount and units of the host, and the storage's settings."""
        map_unit = f"{UNITS}/groundwork-map-{self._tools.image}.service"
        mount = _unit_of(self._tools.path)
        missing = frozenset({0, 2})
        dpkg, info, devices, status, found, sums, enabled = at.hosts.on(self._host.address).run_all(
            read("dpkg-query", "-W", "-f", "${Package} ${Status}\\n", *PACKAGES, ok=NONE),
            read("rbd", "info", "--format", "json", self._spec, ok=missing),
            read("rbd", "device", "list", "--format", "json"),
            read("rbd", "status", "--format", "json", self._spec, ok=missing),
            read("findmnt", "--json", "--mountpoint", self._tools.path, ok=NONE),
            read("sha256sum", map_unit, f"{UNITS}/{mount}", ok=NONE),
            read("systemctl", "is-enabled", mount, ok=frozenset(range(6))),
        )
        mapped = facts.mapped(devices.stdout, self._tools.ceph_pool, self._tools.image)
        return Seen(
            packages=facts.installed(dpkg.stdout),
            features=frozenset(json.loads(info.stdout)["features"]) if info.exit == 0 else None,
            watchers=self._others(facts.watchers(status.stdout), mapped),
            devices=mapped,
            mounted=facts.mounted(found.stdout),
            units=tuple(sorted(facts.digests(sums.stdout).items())),
            enabled=enabled.stdout.strip() == "enabled",
            storage=self._storage(at),
        )

    def _others(self, watchers: tuple[str, ...], mapped: tuple[str, ...]) -> tuple[str, ...]:
        """Leave out ourselves, who watch what is mapped here, perhaps from an address in Ceph's own network."""
        addresses = dict.fromkeys(watchers)
        if mapped and len(addresses) < 2:
            return ()
        return tuple(each for each in addresses if not mapped or each != self._host.address)

    def _storage(self, at: Session) -> tuple[tuple[str, str], ...] | None:
        for row in at.pve.once("/storage"):
            if row["storage"] == self._tools.storage:
                return tuple(sorted((str(k), str(v)) for k, v in row.items() if k != "digest"))
        return None

    def changes(self, seen: Seen, wanted: Wanted) -> Iterator[Change]:
        """Compare packages, image, mount, units and storage."""
        for package in sorted(wanted.packages - seen.packages):
            yield Change(f"package {package}", None, "installed")
        if seen.features is None:
            yield Change("rbd image", None, f"{self._spec}, {self._tools.size_gib} GiB")
        elif LOCK not in seen.features:
            yield Change(f"rbd {self._spec} {LOCK}", "disabled", "enabled")
        have = dict(seen.units)
        for path, text in wanted.units:
            if have.get(path) != hashlib.sha256(text.encode()).hexdigest():
                yield Change(path, "other text" if path in have else None, "written")
        if not seen.enabled:
            yield Change("mount at boot", "disabled", "enabled")
        if seen.mounted is None:
            yield Change("mount", None, self._tools.path)
        yield from self._storage_changes(seen)

    def _storage_changes(self, seen: Seen) -> Iterator[Change]:
        if seen.storage is None:
            yield Change("storage", None, f"{self._tools.storage} ({self._tools.path})")
            return
        have = dict(seen.storage)
        content = set(have.get("content", "").split(","))
        if not content >= CONTENT:
            yield Change("storage content", have.get("content"), ",".join(sorted(content | CONTENT)))
        for key, wanted in self._settings().items():
            if have.get(key, UNSET.get(key)) != wanted:
                yield Change(f"storage {key}", have.get(key, UNSET.get(key)), wanted)

    def _settings(self) -> dict[str, str]:
        """Return what the storage may be set to: enabled, and used on its host while it is mounted."""
        return {"nodes": self._host.name, "disable": "0", "is_mountpoint": "yes"}

    def problems(self, seen: Seen, wanted: Wanted) -> Iterator[Problem]:
        """Yield what is in the way: a watcher elsewhere, another mount, another storage of that name."""
        if seen.watchers:
            who = ", ".join(seen.watchers)
            yield Problem(
                f"rbd {self._spec}",
                f"is in use on {who}; mapping it on {self._host.name} too would destroy its filesystem",
                "unmount and unmap it there, or set tools_storage.host in cluster.toml to that host",
                "tools_storage.host",
                refused=True,
            )
        if seen.mounted is not None and seen.mounted not in seen.devices:
            yield Problem(
                self._tools.path, f"has something else mounted (got {seen.mounted})", "set another tools_storage.path"
            )
        if seen.storage is not None:
            have = dict(seen.storage)
            if have.get("type") != "dir" or have.get("path") != self._tools.path:
                got = f"{have.get('type')} at {have.get('path', '–')}"
                yield Problem(
                    f"storage {self._tools.storage}", f"is another one (got {got})", "set another tools_storage.storage"
                )

    # ---------------------------------------------------------------- apply

    def apply(self, at: Session, seen: Seen, wanted: Wanted) -> None:
        """Install, create, format, mount and announce; each only where it is missing."""
        host = at.hosts.on(self._host.address)
        self._install(at, host, wanted.packages - seen.packages)
        if seen.features is None:
            size, features = str(self._tools.size_gib * 1024), f"layering,{LOCK}"
            host.run(write("rbd", "create", "--size", size, "--image-feature", features, self._spec, timeout=120))
        elif LOCK not in seen.features:
            host.run(write("rbd", "feature", "enable", self._spec, LOCK, timeout=120))
        for path, text in wanted.units:
            host.write(path, text.encode(), 0o644)
        host.run(write("systemctl", "daemon-reload"))
        host.run(write("systemctl", "enable", wanted.map_unit))
        # Unmapped by hand, the image leaves its unit active, and what is active is not started.
        host.run(write("systemctl", "start" if seen.devices else "restart", wanted.map_unit, timeout=120))
        if seen.mounted is None:
            self._format_if_empty(host)
        host.run(write("mkdir", "-p", self._tools.path))
        host.run(write("systemctl", "enable", "--now", wanted.mount_unit, timeout=120))
        self._announce(at, seen)

    def _install(self, at: Session, host: Host, missing: frozenset[str]) -> None:
        if not missing:
            return
        names = sorted(missing)
        update = self._update(at, host)
        if update.exit != 0:
            told = update.stderr + update.stdout
            fix = "run `apt-get update` there and mend its sources"
            if "enterprise.proxmox.com" in told and "401" in told:
                fix = (
                    "this host has no subscription: disable the enterprise repository and add the "
                    "no-subscription one (node → Updates → Repositories)"
                )
            raise StepError(host.address, f"apt-get update failed\n    {told.strip().splitlines()[-1]}", fix)
        rehearsed = host.run(read("apt-get", "install", "--simulate", *names, timeout=120))
        gone = facts.removals(rehearsed.stdout)
        if gone:
            raise RefusedError(
                host.address,
                f"apt would remove {', '.join(gone)} to install {', '.join(names)}",
                "mend the package sources on that host; nothing was changed",
            )
        wait = ("-o", f"DPkg::Lock::Timeout={at.limit(APT_SECONDS):.0f}")
        install = ("apt-get", "install", "-y", "--no-remove", "--no-install-recommends", *wait, *names)
        host.run(write("env", "DEBIAN_FRONTEND=noninteractive", *install, timeout=at.limit(1200)))

    @staticmethod
    def _update(at: Session, host: Host) -> Result:
        """Read the package index anew; where another apt is at it, wait for that: no option makes `update` wait."""

        def look() -> tuple[Result | None, str]:
            done = host.run(
                write("env", "LC_ALL=C", "apt-get", "update", timeout=at.limit(300), ok=frozenset({0, 100}))
            )
            held = next((line for line in done.stderr.splitlines() if "Could not get lock" in line), "")
            return None if held else done, held.removeprefix("E: ")

        return wait_for(f"apt-get on {host.address}", look, at.limit(APT_SECONDS), at.on_wait, first=1.0)

    def _format_if_empty(self, host: Host) -> None:
        device = f"/dev/rbd/{self._spec}"
        if not self._marked(host):
            found = host.run(read("blkid", "-p", "-o", "export", device, ok=frozenset({0, 2})))
            kind = facts.filesystem(found.stdout)
            if kind == "ext4":
                return
            marks = facts.signatures(host.run(read("wipefs", "--json", "--no-act", device)).stdout)
            written = json.loads(host.run(read("rbd", "diff", "--format", "json", self._spec)).stdout or "[]")
            if kind or marks or written:
                what = kind or ", ".join(marks) or f"{len(written)} written extents and no known signature"
                raise RefusedError(
                    f"rbd {self._spec}",
                    f"is not empty and not ext4 (found {what}): it is not formatted",
                    f"look at {device} on {self._host.name}; set tools_storage.image in cluster.toml to another name",
                )
            host.run(write("rbd", "image-meta", "set", self._spec, MARK, "1"))
        host.run(write("mkfs.ext4", "-q", "-L", self._tools.image[:16], device, timeout=300))
        host.run(write("rbd", "image-meta", "remove", self._spec, MARK))

    def _marked(self, host: Host) -> bool:
        return host.run(read("rbd", "image-meta", "get", self._spec, MARK, ok=frozenset({0, 2}))).exit == 0

    def _announce(self, at: Session, seen: Seen) -> None:
        content = ",".join(sorted(CONTENT))
        if seen.storage is None:
            at.pve.post(
                "/storage",
                storage=self._tools.storage,
                type="dir",
                path=self._tools.path,
                content=content,
                nodes=self._host.name,
                is_mountpoint="yes",
            )
            return
        if list(self._storage_changes(seen)):
            have = set(dict(seen.storage).get("content", "").split(",")) - {""}
            merged = ",".join(sorted(have | CONTENT))
            at.pve.put(f"/storage/{self._tools.storage}", content=merged, **self._settings())

    def output(self, seen: Seen, wanted: Wanted) -> ImportStorage:
        """Give the storage, and where its import folder is."""
        return ImportStorage(self._tools.storage, self._host.name, self._host.address, f"{self._tools.path}/import")

    def reason(self, seen: Seen, wanted: Wanted) -> str:
        """Say what is there."""
        return f"{self._spec} mounted on {self._host.name} at {self._tools.path}, storage {self._tools.storage}"


def _unit_of(path: str) -> str:
    """Return the name that systemd wants for a mount unit of that path (systemd.unit: string escaping)."""
    escaped = "".join(
        "-" if c == "/" else c if c.isalnum() or c in ":_." else "".join(f"\\x{b:02x}" for b in c.encode())
        for c in path.strip("/")
    )
    return f"{escaped}.mount"
