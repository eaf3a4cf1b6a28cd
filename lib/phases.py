"""Own the table: which phase needs which, and which steps a phase is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Wish:
    """What a run was asked for beyond the configuration."""

    root: Path
    api_url: str
    refresh_always: bool
    rebuild: bool = False
    backup: str = ""
    prove: bool = False


@dataclass(frozen=True)
class Phase:
    """A phase: its name, the phases before it, and how its steps follow from configuration and wish."""

    name: str
    needs: tuple[str, ...]
    steps: Callable[[Cluster, Wish], Sequence[AnyStep]]


def _foundation(cluster: Cluster, wish: Wish) -> Sequence[AnyStep]:
    return (
        Validation(cluster, wish.backup),
        ToolsStorage(cluster),
        PackerUser(cluster, wish.refresh_always, wish.prove),
        CloudImage(cluster, wish.root, wish.rebuild),
        BaseTemplate(cluster, wish.rebuild, wish.backup),
        PackerConfig(cluster, wish.api_url),
    )


PHASES = {phase.name: phase for phase in (Phase("foundation", (), _foundation),)}


def chain(names: Sequence[str]) -> list[Phase]:
    """Return the named phases and all they need, in order, each once."""
    ordered: list[Phase] = []
    for name in names:
        phase = PHASES[name]
        for each in [*chain(phase.needs), phase]:
            if each not in ordered:
                ordered.append(each)
    return ordered
