"""Own the customised cloud image in the tools storage: fetched by digest, customised, named by its lineage."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar
from urllib.parse import urlsplit

import msgspec

from lib.clients.ssh import Host
from lib.command import Command, read, write
from lib.config.model import Cluster
from lib.engine.step import Change, Inputs, Step, Unknown
from lib.errors import CommandError, GroundworkError, Problem, StepError
from lib.facts import tools as facts
from lib.steps.session import Session
from lib.steps.tools_storage import ImportStorage, ToolsStorage

RECIPE = 1  # raise it when what virt-customize does changes
UNFINISHED = "groundwork-unfinished-"
LINEAGE = re.compile(r"-([0-9a-f]{12})\.qcow2$")
FILE = "images.cloud.file"


class Image(msgspec.Struct, frozen=True):
    """The image that templates are made from: its volume id, its node, and what it was made of."""

    volume: str
    node: str
    lineage: str


class Seen(msgspec.Struct, frozen=True):
    """The image as it is: there or not, whether its digest is right (None: not looked at), and leftovers.

    `older` is another one of ours that is used in its place, `newer` the digest that is published.
    """

    there: bool
    recorded: str
    digest: str | None
    leftovers: tuple[str, ...]
    older: str = ""
    newer: str = ""


class CloudImage(Step[Session, Seen, ImportStorage, Image]):
    """Keep the customised cloud image present and intact. API: /nodes/{node}/storage/{storage}/download-url."""

    name: ClassVar[str] = "cloud_image"
    needs: ClassVar[tuple[str, ...]] = ("tools_storage",)
    max_age: ClassVar[float | None] = 86400.0
    promises: ClassVar[bool] = True

    def __init__(self, cluster: Cluster, root: Path, rebuild: bool = False, keep: bool = False) -> None:
        """`root` is where a relative images.cloud.file starts.

        `rebuild` makes the image anew; `keep` is content with an older one.
        """
        self._cluster = cluster
        self._cloud = cluster.images.cloud
        self._root = root
        self._rebuild = rebuild
        self._keep = keep
        made_of = (RECIPE, self._cloud.sha256, *self._cloud.packages)
        self._lineage = hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]
        stem = PurePosixPath(urlsplit(self._cloud.url).path).name.rsplit(".", 1)[0]
        self._file = f"{stem}-{self._cloud.release}-{self._lineage}.qcow2"
        self._folder = f"{cluster.tools_storage.path}/import"
        self._host_name = cluster.tools_storage.host

    def desired(self, inputs: Inputs) -> ImportStorage | Unknown:
        """Want the image in the tools storage."""
        return inputs.of(ToolsStorage)

    def observe(self, at: Session, recent: bool) -> Seen:
        """List the folder and read the recorded digest; compute it too unless a recent check is relied on."""
        host = at.hosts.on(self._cluster.host(self._host_name).address)
        told, sums = host.run_all(
            read("ls", "-1", self._folder, ok=frozenset({0, 1, 2})),
            read("cat", f"{self._folder}/{self._file}.sha256", ok=frozenset({0, 1})),
        )
        listing = told.stdout.split()
        whole = {name for name in listing if f"{name}.sha256" in listing}
        there = self._file in whole
        return Seen(
            there=there,
            recorded=facts.digests(sums.stdout).get(self._file, ""),
            digest=self._digest(host, self._file) if there and not recent else None,
            leftovers=tuple(sorted(name for name in listing if name.startswith(UNFINISHED))),
            older=max(filter(LINEAGE.search, whole), default="") if self._keep and not there else "",
            newer="" if recent else self._newer(host),
        )

    def _digest(self, host: Host, name: str) -> str:
        path = f"{self._folder}/{name}"
        return facts.digests(host.run(read("sha256sum", path, timeout=600)).stdout).get(path, "")

    def _newer(self, host: Host) -> str:
        """Return the digest that the publisher's undated folder names now, where it is another one."""
        dated = f"/release-{self._cloud.release}/"
        if dated not in self._cloud.url or self._cloud.file:
            return ""
        folder, _, name = self._cloud.url.replace(dated, "/release/").rpartition("/")
        argv = ("wget", "-q", "-O", "-", "--timeout=8", "--tries=1", f"{folder}/SHA256SUMS")
        answer = host.run(read(*argv, timeout=20, ok=frozenset(range(256))))
        now = facts.digests(answer.stdout).get(name, "") if answer.exit == 0 else ""
        return now if now != self._cloud.sha256 else ""

    def changes(self, seen: Seen, wanted: ImportStorage) -> Iterator[Change]:
        """Compare presence, digest and leftovers."""
        if not seen.there and not seen.older:
            yield Change("image", None, self._file)
        elif seen.digest is not None and seen.digest != seen.recorded:
            yield Change("digest", seen.digest[:12], seen.recorded[:12] or "recorded")
        elif self._rebuild:
            yield Change("image", self._file, "made anew")
        for name in seen.leftovers:
            yield Change("leftover", name, None)

    def apply(self, at: Session, seen: Seen, wanted: ImportStorage) -> None:
        """Fetch under an unfinished name, customise, record the digest, rename into place."""
        host = at.hosts.on(wanted.address)
        work = f"{UNFINISHED}{self._lineage}.qcow2"
        fetched = self._wait_for_earlier(at, wanted, work)
        whole = seen.older or (seen.there and (seen.digest is None or seen.digest == seen.recorded))
        right = whole and not self._rebuild
        # What was only just fetched nobody else works on; one that lay there may be half customised, or just being so,
        # and Proxmox would take it if its digest is right, and refuse else.
        taken = fetched and not right and self._digest(host, work) == self._cloud.sha256
        for name in {*seen.leftovers, work} - ({work} if taken else set()):
            host.run(write("rm", "-f", f"{self._folder}/{name}"))
        if right:
            return
        if not taken:
            self._fetch(at, host, wanted, work)
        path, packages = f"{self._folder}/{work}", ",".join(self._cloud.packages)
        install = ("--install", packages) if packages else ()
        customise = ("virt-customize", "-a", path, *install, "--truncate", "/etc/machine-id")
        at.on_wait("virt-customize", 0.0, packages or "no packages")
        try:
            host.run(Command(("env", "LIBGUESTFS_BACKEND=direct", *customise), timeout=at.limit(1800)))
        except CommandError:
            with contextlib.suppress(GroundworkError):
                host.run(write("rm", "-f", path))
            raise
        digest = self._digest(host, work)
        host.write(f"{self._folder}/{self._file}.sha256", f"{digest}  {self._file}\n".encode(), 0o644)
        host.run(write("mv", "-f", path, f"{self._folder}/{self._file}"))
        # From here on only `rebuild` would do it again; the verification that follows must not ask for it.
        self._rebuild = False

    def _wait_for_earlier(self, at: Session, wanted: ImportStorage, work: str) -> bool:
        """Wait for a download that an interrupted run has left running; tell whether there was one."""
        running = at.pve.running_task(wanted.node, "download", work)
        if running is not None:
            at.pve.task(running, "the download that an earlier run began", at.limit(3600))
        return running is not None

    def _fetch(self, at: Session, host: Host, wanted: ImportStorage, work: str) -> None:
        if self._cloud.file:
            self._send(at, host, work)
            return
        at.pve.run(
            "POST",
            f"/nodes/{wanted.node}/storage/{wanted.storage}/download-url",
            f"download of {self._cloud.url}",
            at.limit(3600),
            url=self._cloud.url,
            content="import",
            filename=work,
            checksum=self._cloud.sha256,
            **{"checksum-algorithm": "sha256"},
        )

    def _send(self, at: Session, host: Host, work: str) -> None:
        local = self._root / Path(self._cloud.file).expanduser()
        host.run(write("mkdir", "-p", self._folder))
        host.upload(local, f"{self._folder}/{work}")
        got = self._digest(host, work)
        if got != self._cloud.sha256:
            host.run(write("rm", "-f", f"{self._folder}/{work}"))
            raise StepError(
                str(local), f"arrived with another digest (got {got}, want {self._cloud.sha256})", "run again"
            )

    def problems(self, seen: Seen, wanted: ImportStorage) -> Iterator[Problem]:
        """Yield a local file that is not there or not the pinned one, where it would be needed."""
        if not self._cloud.file or seen.there or seen.older:
            return
        local = self._root / Path(self._cloud.file).expanduser()
        if not local.is_file():
            yield Problem(FILE, f"is not there ({local})", "mend the path in cluster.toml", FILE)
            return
        with local.open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
        if got != self._cloud.sha256:
            problem = f"has another digest (got {got}, want {self._cloud.sha256})"
            yield Problem(FILE, problem, "fetch it again", FILE)

    def remarks(self, seen: Seen) -> Iterator[str]:
        """Yield that a newer image was published."""
        if seen.newer:
            yield f"a newer cloud image is published (sha256 {seen.newer[:12]}…): pin it when you want it"

    def output(self, seen: Seen, wanted: ImportStorage) -> Image:
        """Give the volume."""
        file = seen.older or self._file
        return Image(f"{wanted.storage}:import/{file}", wanted.node, LINEAGE.findall(file)[0])

    def reason(self, seen: Seen, wanted: ImportStorage) -> str:
        """Say which image, and how it was looked at."""
        how = "digest computed" if seen.digest is not None else "present"
        if seen.older:
            return f"{seen.older}, older than cluster.toml wishes, is left ({how}); `invoke foundation` makes the other"
        return f"cloud image {self._cloud.release}, lineage {self._lineage} ({how})"
