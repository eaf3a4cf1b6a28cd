"""Own the table: which phase needs which, and which steps a phase is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lib.config.model import Cluster
from lib.engine.step import Step
from lib.steps.access import PackerUser
from lib.steps.base_template import BaseTemplate
from lib.steps.cloud_image import CloudImage
from lib.steps.packer_config import PackerConfig
from lib.steps.session import Session
from lib.steps.tools_storage import ToolsStorage
from lib.steps.validation import Validation

AnyStep = Step[Session, Any, Any, Any]


class Wish(msgspec.Struct, frozen=True):
    """What a run was asked for beyond the configuration; `keep`: the foundation is only needed, what is old will do."""

    root: Path
    api_urls: tuple[str, ...]
    refresh_always: bool
    keep: bool = False
    rebuild: bool = False
    backup: str = ""
    prove: bool = False


class Phase(msgspec.Struct, frozen=True):
    """A phase: its name, the phases before it, and how its steps follow from configuration and wish."""

    name: str
    needs: tuple[str, ...]
    steps: Callable[[Cluster, Wish], Sequence[AnyStep]]


def _foundation(cluster: Cluster, wish: Wish) -> Sequence[AnyStep]:
    return (
        Validation(cluster, wish.backup),
        ToolsStorage(cluster),
        PackerUser(cluster, wish.refresh_always, wish.prove),
        CloudImage(cluster, wish.root, wish.rebuild, wish.keep),
        BaseTemplate(cluster, wish.rebuild, wish.backup),
        PackerConfig(cluster, wish.api_urls),
    )


def _dns(cluster: Cluster, wish: Wish) -> Sequence[AnyStep]:
    # what asks name servers is loaded by those alone who do
    from lib.config.records import records_of
    from lib.steps.name_server import NameServer
    from lib.steps.zone import Zones
    from lib.zones import tracked_files

    records = records_of(cluster, wish.root)
    return NameServer(cluster, records), Zones(cluster, records, tracked_files(wish.root / "dns"))


PHASES = {phase.name: phase for phase in (Phase("foundation", (), _foundation), Phase("dns", ("foundation",), _dns))}


def relied_on(steps: Sequence[AnyStep], by: Sequence[AnyStep]) -> list[AnyStep]:
    """Return of the steps those that the others need, or that something needs which they need; and the others."""
    known = {step.name: step for step in steps}
    wanted: set[str] = set()
    ahead = [step.name for step in by]
    while ahead:
        name = ahead.pop()
        if name in known and name not in wanted:
            wanted.add(name)
            ahead += known[name].needs
    return [step for step in steps if step.name in wanted]


def chain(names: Sequence[str]) -> list[Phase]:
    """Return the named phases and all they need, in order, each once."""
    ordered: list[Phase] = []
    for name in names:
        phase = PHASES[name]
        for each in [*chain(phase.needs), phase]:
            if each not in ordered:
                ordered.append(each)
    return ordered
