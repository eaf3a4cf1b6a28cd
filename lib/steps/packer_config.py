"""Own the two files that Packer reads: `packer/.env` (with the token) and `packer/variables.json`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import msgspec

from lib.clients.pve_session import Credential
from lib.config.model import Cluster
from lib.engine.evidence import write_file
from lib.engine.step import UNKNOWN, Change, Inputs, Step, Unknown
from lib.render import render
from lib.secrets import Secret
from lib.steps.access import PackerUser
from lib.steps.base_template import BaseTemplate, Template
from lib.steps.session import Session
from lib.steps.validation import Validation

FILES = ("packer/.env", "packer/variables.json")
MODE = 0o600


class Rendered(msgspec.Struct, frozen=True):
    """A file: its path below the base folder, its mode, and its text (a secret: it may hold a token)."""

    path: str
    mode: int
    text: Secret


class PackerConfig(Step[Session, tuple[Rendered, ...], tuple[Rendered, ...], None]):
    """Keep Packer's files current, readable by their owner alone."""

    name: ClassVar[str] = "packer_config"
    needs: ClassVar[tuple[str, ...]] = ("validation", "packer_user", "base_template")

    def __init__(self, cluster: Cluster, urls: tuple[str, ...]) -> None:
        """`urls` are those that the API may answer at; Packer gets the one that answers."""
        self._cluster = cluster
        self._urls = urls

    def desired(self, inputs: Inputs) -> tuple[Rendered, ...] | Unknown:
        """Render both files for the credential and the template."""
        validated, credential, template = inputs.of(Validation), inputs.of(PackerUser), inputs.of(BaseTemplate)
        if isinstance(validated, Unknown) or isinstance(credential, Unknown) or isinstance(template, Unknown):
            return UNKNOWN
        texts = (self._environment(validated.url, credential), self._variables(template))
        return tuple(Rendered(path, MODE, Secret(text)) for path, text in zip(FILES, texts, strict=True))

    def _environment(self, url: str, credential: Credential) -> str:
        token = credential.secret.reveal()
        return render("packer.env.j2", url=url, username=credential.identity, token=token)

    def _variables(self, template: Template) -> str:
        images, proxmox = self._cluster.images, self._cluster.proxmox
        return render(
            "packer-variables.json.j2",
            node=template.node,
            base_vmid=template.vmid,
            golden_vmid=images.golden.vmid,
            golden_name=images.golden.name,
            storage=proxmox.storage,
            bridge=proxmox.bridge,
            pool=proxmox.pool,
            tags=proxmox.tag,
            cores=images.base.cores,
            memory_mib=images.base.memory_mib,
            ssh_username=images.user,
            lineage=template.lineage,
        )

    def observe(self, at: Session, recent: bool) -> tuple[Rendered, ...]:
        """Read the files as they are."""
        return tuple(
            Rendered(name, path.stat().st_mode & 0o777, Secret(path.read_text(errors="replace")))
            for name in FILES
            if (path := Path(at.base / name)).is_file()
        )

    def changes(self, seen: tuple[Rendered, ...], wanted: tuple[Rendered, ...]) -> Iterator[Change]:
        """Compare text and mode; a new token or another of the API's hosts alone is a refresh."""
        have = {file.path: file for file in seen}
        for file in wanted:
            old = have.get(file.path)
            if old is None:
                yield Change(file.path, None, "written")
                continue
            if old.mode != file.mode:
                yield Change(f"{file.path} mode", f"{old.mode:04o}", f"{file.mode:04o}")
            if old.text != file.text:
                only = self._lasting(old.text) == self._lasting(file.text)
                before = "an older token, or an API host that does not answer" if only else "other text"
                yield Change(file.path, before, "written", refresh=only)

    def apply(self, at: Session, seen: tuple[Rendered, ...], wanted: tuple[Rendered, ...]) -> None:
        """Write both files, old or new, never half."""
        for file in wanted:
            write_file(at.base / file.path, file.text.reveal(), file.mode)

    def output(self, seen: tuple[Rendered, ...], wanted: tuple[Rendered, ...]) -> None:
        """Give nothing."""

    def reason(self, seen: tuple[Rendered, ...], wanted: tuple[Rendered, ...]) -> str:
        """Say what is current."""
        return f"{', '.join(FILES)} are current"

    def _lasting(self, text: Secret) -> list[str]:
        """Return the lines that change neither with the token nor with the API's host that answers."""
        passing = ("PROXMOX_TOKEN=", "PROXMOX_USERNAME=")
        hosts = [f"PROXMOX_URL={url}" for url in self._urls]
        return [line for line in text.reveal().splitlines() if not line.startswith(passing) and line not in hosts]
