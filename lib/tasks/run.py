"""Own one run from flags to exit code: configuration, target, clients, lock, engine, output."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from invoke import Exit

from lib.clients.cluster_lock import cluster_lock
from lib.clients.pve import Pve
from lib.clients.pve_session import Api, Credential
from lib.clients.pvesh import PveOverSsh
from lib.clients.ssh import Host, Hosts
from lib.config.cluster import load_cluster, locate
from lib.config.model import Cluster
from lib.engine.evidence import Evidence, digest
from lib.engine.lock import holder, local_lock
from lib.engine.plan import PhaseResult, RunResult
from lib.engine.planning import Options
from lib.engine.runlog import RunLog
from lib.engine.runner import Runner, current_step
from lib.engine.step import Step
from lib.errors import FAILED, INTERRUPTED, INTERRUPTION, OK, PENDING, REFUSED, GroundworkError, UsageError
from lib.steps.session import Session
from lib.tasks.console import Screen, print_json
from lib.tasks.target import (
    Target,
    administrator,
    choose,
    forget_administrator,
    make_token,
    makes_token,
    shell_of,
    tls_of,
)

if TYPE_CHECKING:
    from lib.phases import AnyStep

EXIT = {"failed": FAILED, "refused": REFUSED}


class Flags(msgspec.Struct, frozen=True):
    """What was typed, checked; the same for every phase task."""

    dry_run: bool = False
    as_json: bool = False
    timeout: float | None = None
    rerun: frozenset[str] = frozenset()
    allow: frozenset[str] = frozenset()
    only: bool = False
    verbose: bool = False
    rebuild: bool = False
    backup: str = ""
    reset_state: bool = False
    detailed: bool = False
    as_markdown: bool = False
    deep: bool = False
    guard: bool = True


def names(text: str | Sequence[str]) -> frozenset[str]:
    """Split `a,b` (also given several times) into names."""
    parts = [text] if isinstance(text, str) else list(text)
    return frozenset(name.strip() for part in parts for name in part.split(",") if name.strip())


def seconds(text: str) -> float | None:
    """Read --timeout.

    Raises:
        UsageError: it is no positive number of seconds.
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError("--timeout", f"is no positive number of seconds (got {text!r})", "for example --timeout 600")
    return value


def root() -> Path:
    """Return the checkout that this code lies in; it works from any folder."""
    return Path(__file__).resolve().parent.parent.parent


def run(command: str, phases: Sequence[str], flags: Flags) -> None:
    """Make one run and print it; no phases named: all there are.

    Raises:
        Exit: with the exit code of the outcome, where it is not 0.
        GroundworkError: the run could not even begin.
    """
    with Screen(flags.as_json or flags.as_markdown, flags.verbose) as screen:
        result = _made(command, phases, flags, screen)
        screen.result(result, flags.dry_run)
    if flags.as_markdown:
        sys.stdout.write(result.markdown())
    elif flags.as_json:
        print_json(result)
    if result.problems:
        raise Exit(str(result.problems[0]), code=INTERRUPTED)
    code = EXIT.get(result.outcome, OK)
    if flags.detailed and result.outcome == "pending":
        code = PENDING
    if code:
        raise Exit(code=code)


def _made(command: str, phases: Sequence[str], flags: Flags, screen: Screen) -> RunResult:
    """Make the run; what happens meanwhile is told on the screen."""
    began = time.monotonic()
    here = root()
    cluster = load_cluster(here / "cluster.toml")
    target = choose(here, os.environ, cluster)
    screen.title(f"groundwork {command} · {target.told}")
    for warning in target.warnings:
        screen.line(f"  warning: {warning}", "yellow")
    with _locked(target, flags), _session(target, cluster, phases, flags, screen) as (session, log):
        from lib.phases import PHASES, Wish, chain, relied_on  # while the connections are being opened

        always = cluster.packer.token_refresh == "always" and "foundation" in phases
        keep = bool(phases) and "foundation" not in phases
        wish = Wish(here, target.api_urls, always, keep, flags.rebuild, flags.backup, flags.deep)
        by_phase = {phase.name: phase.steps(cluster, wish) for phase in chain(phases or list(PHASES))}
        named = [step for name, steps in by_phase.items() if name in (phases or PHASES) for step in steps]
        steps = [step for steps in by_phase.values() for step in steps]
        _check_names(flags, steps)
        if flags.only:
            steps = relied_on(steps, named)
        needed = frozenset(step.name for step in steps) - {step.name for step in named}
        screen.expect([step.name for step in steps])
        evidence = _evidence(target, flags, by_phase)
        options = Options(
            flags.dry_run,
            flags.guard,
            command == "status",
            flags.rerun,
            flags.allow,
            flags.deep,
            needed if flags.only else frozenset(),
            needed,
        )
        located = partial(locate, here / "cluster.toml")
        runner = Runner(steps, session, options, evidence, digest(cluster), log, screen, located)
        with cluster_lock(
            session.pve, holder(), flags.dry_run, lambda told: screen.line(f"  warning: {told}", "yellow")
        ) as may_go_on:
            results = {result.name: result for result in runner.run(may_go_on)}
    return RunResult(
        command,
        target.name,
        [
            PhaseResult(name, [results[step.name] for step in steps if step.name in results])
            for name, steps in by_phase.items()
        ],
        time.monotonic() - began,
        [INTERRUPTION] if runner.stopped else [],
    )


def _check_names(flags: Flags, steps: Sequence[Step[Any, Any, Any, Any]]) -> None:
    known = [step.name for step in steps]
    for name in sorted(flags.rerun.difference(known)):
        raise UsageError("--rerun", f"no such step: {name}", f"the steps are {', '.join(known)}")
    overrides = [name for step in steps for name in step.overrides]
    for name in sorted(flags.allow.difference(overrides)):
        raise UsageError("--allow", f"nothing is refused by that name: {name}", f"there is {', '.join(overrides)}")


@contextlib.contextmanager
def _locked(target: Target, flags: Flags) -> Iterator[None]:
    """Hold the local lock; a dry run neither takes nor minds it."""
    if flags.dry_run:
        yield
        return
    with local_lock(target.base / ".groundwork" / "lock"):
        yield


def _evidence(target: Target, flags: Flags, phases: Mapping[str, Sequence[AnyStep]]) -> dict[str, Evidence]:
    """Return where the evidence of each step is kept: the foundation's in a file of its own."""
    first = target.base / ".foundation-state.json"
    if flags.reset_state and not flags.dry_run:
        first.unlink(missing_ok=True)
    kept: dict[str, Evidence] = {}
    for name, steps in phases.items():
        path = first if name == "foundation" else target.base / ".groundwork" / "state.json"
        kept |= dict.fromkeys([step.name for step in steps], Evidence(path, target.identity))
    return kept


@contextlib.contextmanager
def _session(
    target: Target, cluster: Cluster, phases: Sequence[str], flags: Flags, screen: Screen
) -> Iterator[tuple[Session, RunLog]]:
    """Open what a run needs, and close it."""
    log = RunLog(None if flags.dry_run else target.base / ".groundwork" / "runs")

    def on_wait(what: str, waited: float, last: str) -> None:
        log.write("wait", step=current_step.get(), what=what, seconds=round(waited, 1), last=last)
        screen.waiting(current_step.get(), what, waited, last)

    hosts = Hosts(target.login, on_wait, flags.timeout or 3600.0)
    name_server = Host(cluster.dns.server, target.name_server, on_wait, flags.timeout or 3600.0)
    try:
        api = Api(target.endpoints, tls_of(target, hosts), min(30.0, flags.timeout or 30.0))

        def connect(credential: Credential) -> Pve:
            return Pve(api, credential, on_wait)

        admin = administrator(target, hosts, flags.dry_run)
        renew = partial(make_token, target, hosts) if makes_token(target) and not flags.dry_run else None
        pve = Pve(api, admin, on_wait, renew) if admin else PveOverSsh(api, shell_of(target, hosts), on_wait)
        soon = [pve.connect]
        soon += [name_server.connect] if "dns" in (phases or ["dns"]) else []
        soon += [] if flags.only else [hosts.on(cluster.host(cluster.tools_storage.host).address).connect]
        for connect_now in soon:
            threading.Thread(target=_quietly, args=(connect_now,), daemon=True).start()
        session = Session(pve, hosts, connect, on_wait, target.base, name_server, target.dns_at, flags.timeout)
        try:
            yield session, log
        finally:
            if api.refused:
                forget_administrator(target)
    finally:
        hosts.close()
        name_server.close()
        log.close()


def _quietly(connect_now: Callable[[], None]) -> None:
    """Connect ahead of time; where that fails, the first one who needs it says so."""
    with contextlib.suppress(GroundworkError):
        connect_now()
