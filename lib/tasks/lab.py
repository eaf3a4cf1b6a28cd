"""Own the tasks of the rehearsal cluster: lab.start, .stop, .status, .reset, .fault, .env, .ssh-config, .replay.

The lab itself is in lib/lab/; it is imported when a task runs, not before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from invoke import Argument, Context, Exit, Task, task

from lib.errors import GroundworkError, UsageError

KINDS = (
    "reset", "timeout", "500", "595", "401", "lock", "task-fail", "ssh-drop", "ssh-refuse", "exit",
    "agent-silent", "disk-full", "slow", "dns-servfail", "dns-refused",
    "dns-truncated", "partition",
)  # fmt: skip


def _root() -> Path:
    return Path(__file__).resolve().parent.parent.parent


def _told(work: Any) -> Any:
    """Run `work()`; turn an error that was made to be read into its text and exit code."""
    try:
        return work()
    except GroundworkError as error:
        raise Exit(str(error), error.exit_code) from None


def _number(flag: str, text: str, kind: type[int] | type[float], least: int = 0) -> int | float | None:
    if not text:
        return None
    try:
        value = kind(text)
    except ValueError:
        value = kind(-1)
    if not least <= value < 1e6:
        raise UsageError(flag, f"is no number of {least} or more (got {text!r})", f"for example {flag} {max(least, 3)}")
    return value


def _running() -> dict[str, Any]:
    from lib.lab import start as process

    found = process.running(_root())
    if found is None:
        raise Exit("lab: does not run\n  Fix: invoke lab.start", 1)
    return found


@task(
    help={
        "pve": "release that the hosts run: 8.4 or 9.2 (default 9.2)",
        "hosts": "number of hosts (default: as in cluster.toml)",
        "latency-ms": "round trip to every host, in milliseconds (default 0)",
        "task-seconds": "factor on the real duration of tasks; 0 ends them at once (default 0.05)",
        "perverse": "seed: add unknown keys, drop optional ones, reorder lists, fail tasks late",
    }
)
def start(
    c: Context, pve: str = "", hosts: str = "", latency_ms: str = "", task_seconds: str = "", perverse: str = ""
) -> None:
    """Start the rehearsal cluster of cluster.toml on loopback ports; it goes on where it stopped."""
    from lib.lab import start as process

    def work() -> None:
        if pve not in ("", "8.4", "9.2"):
            raise UsageError("--pve", f"no such release (got {pve!r})", "8.4 or 9.2")
        options: dict[str, Any] = {
            "pve": pve or None,
            "hosts": _number("--hosts", hosts, int, 1),
            "latency_ms": _number("--latency-ms", latency_ms, float),
            "task_seconds": _number("--task-seconds", task_seconds, float),
            "perverse": _number("--perverse", perverse, int),
        }
        found = process.running(_root())
        if found is not None and any(value is not None for value in options.values()):
            process.check(_root(), options)
            process.stop(_root())
            found = None
        began = "already runs" if found else "runs"
        found = found or process.start(_root(), **options)
        print(f"The lab {began}: Proxmox VE {found['pve_version']}, {len(found['api'])} hosts, process {found['pid']}.")
        for name, url in found["api"].items():
            print(f"  {name:<12} {url}")
        for address, port in found["dns"].items():
            print(f"  {address:<12} name server, DNS at 127.0.0.1:{port}")

    _told(work)


@task
def stop(c: Context) -> None:
    """Stop the rehearsal cluster; nothing is lost."""
    from lib.lab import start as process

    print("The lab is stopped." if _told(lambda: process.stop(_root())) else "No lab runs.")


@task(name="status", help={"json": "one JSON document"})
def status_(c: Context, json: bool = False) -> None:
    """Show whether the rehearsal cluster runs, and what is in it."""
    from lib.lab import start as process

    if process.running(_root()) is None:
        print('{"running": false}' if json else "No lab runs.")
        return
    found = _told(lambda: process.ask(_root(), "GET", "/status"))
    if json:
        print(_json({"running": True} | found))
        return
    print(f"The lab runs: Proxmox VE {found['pve']}, {found['hosts']} hosts, process {found['pid']}.")
    print(f"  up {found['seconds']} s, latency {found['latency_ms']:.0f} ms")
    print(f"  guests {found['guests']}, running tasks {found['tasks']}")
    server = found["name_server"]
    runs = "runs" if server["running"] else "is dead"
    print(f"  name server {server['name']} ({server['address']}): {server['service']} {runs}")
    for fault in found["faults"]:
        print(f"  fault {fault['kind']} on '{fault['match'] or 'anything'}'")
    print("  answers " + ", ".join(f"{count} by {kind}" for kind, count in found["answers"].items()))
    for words, count in found["beliefs"].items():
        print(f"    believed {count} times: {words}")
    print(f"  page {found['page']}")


def _json(document: Any) -> str:
    return json.dumps(document)


@task
def reset(c: Context) -> None:
    """Stop the rehearsal cluster, make it bare again, and forget what rehearsals wrote."""
    from lib.lab import start as process

    def work() -> None:
        process.reset(_root())
        print("The lab is bare again; it starts at the next lab.start or rehearsal.")

    _told(work)


class _Kind(Argument):
    """A positional word that may be left out beside --clear, which Invoke itself does not know."""

    clear: Argument | None = None

    @property
    def value(self) -> Any:
        """The word; an empty one where --clear stands instead."""
        return "" if self._value is None and self.clear is not None and self.clear.value else self._value

    @value.setter
    def value(self, given: str) -> None:
        self.set_value(given)


class _FaultTask(Task):
    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Return the arguments, the kind being needed only without --clear."""
        found: list[Argument] = super().get_arguments(ignore_unknown_help)
        plain = next(argument for argument in found if argument.name == "kind")
        kind = _Kind(names=plain.names, kind=str, positional=True, help=plain.help)
        kind.clear = next(argument for argument in found if argument.name == "clear")
        return [kind if argument is plain else argument for argument in found]


@task(
    klass=_FaultTask,
    positional=["kind"],
    help={
        "kind": "one of " + ", ".join(KINDS),
        "match": "what it hits: a part of the request or command line, or a pattern with *",
        "times": "how often (default 1; 0: until cleared)",
        "clear": "take all faults back",
    },
)
def fault(c: Context, kind: str = "", match: str = "", times: str = "1", clear: bool = False) -> None:
    """Let something go wrong in the rehearsal cluster."""
    from lib.lab import start as process

    def work() -> None:
        if clear:
            process.ask(_root(), "DELETE", "/fault")
            print("No faults.")
            return
        if kind not in KINDS:
            raise UsageError("lab.fault", f"no such kind (got {kind!r})", "one of " + ", ".join(KINDS))
        count = _number("--times", times, int)
        process.ask(_root(), "POST", "/fault", {"kind": kind, "match": match, "times": count})
        often = "until cleared" if count == 0 else f"{count} time(s)"
        print(f"Fault {kind} on '{match or 'anything'}', {often}.")

    _told(work)


@task
def env(c: Context) -> None:
    """Print export lines for proxmoxer, OpenTofu's provider and Packer: eval "$(invoke lab.env)"."""
    from lib.lab import attach

    print(attach.environment(_root(), _running()), end="")


@task(name="ssh-config")
def ssh_config(c: Context) -> None:
    """Print an OpenSSH configuration for the hosts: invoke lab.ssh-config > .lab/ssh_config."""
    from lib.lab import attach

    print(attach.ssh_config(_root(), _running()), end="")


@task(positional=["file"], help={"file": "a recording (JSON) of what a real Proxmox VE answered"})
def replay(c: Context, file: str) -> None:
    """Send a recording to a private lab in its shape, and compare the answers; exit 1 if any differs."""
    from lib.lab.replay.run import replay as compare

    path, fix = Path(file), "name a JSON file that has `exchanges` or `commands`, with what was answered"
    if not path.is_file():
        raise Exit(f"lab.replay: there is no file {file}\n  Fix: {fix}", 2)
    try:
        what, results = compare(path)
    except ValueError as error:
        raise Exit(f"lab.replay: {file} is no recording ({error})\n  Fix: {fix}", 2) from None
    differing = [result for result in results if not result.agrees]
    for result in differing:
        print(f"{result.number}: {result.sent}")
        for line in result.differences:
            print(f"    {line}")
    print(f"{len(results) - len(differing)} of {len(results)} {what} agree.")
    if differing:
        raise Exit(code=1)
