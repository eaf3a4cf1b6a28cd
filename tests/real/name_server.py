"""Own a real name server behind a real sshd, for tests: scratch folders, loopback ports, a stand-in for systemd."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from lib.clients.pve import Pve
from lib.clients.ssh import Host, Hosts, Login
from lib.config.model import Cluster
from lib.config.records_model import Own, Record
from lib.engine.evidence import Evidence
from lib.engine.plan import StepResult
from lib.engine.planning import Options
from lib.engine.runlog import RunLog
from lib.engine.runner import Runner
from lib.engine.step import Step
from lib.steps.name_server import NameServer
from lib.steps.session import Session
from lib.steps.zone import Zones
from lib.zones import on_server, render_files
from tests.real.sshd import sshd
from tests.records import complete, sample
from tests.tools import tool

# What `systemctl VERB SERVICE` does here. The file `mode` lets it fail or lie once, as a real one may.
SYSTEMCTL = """#!/bin/sh
cd {home}
pid=$(cat run/pid 2>/dev/null)
echo "$1" >> asked
mode=$(cat mode 2>/dev/null); rm -f mode
case "$1" in
is-active)
    [ -n "$mode" ] && echo "$mode" > mode
    [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && echo active && exit 0
    echo inactive; exit 3 ;;
restart)
    [ "$mode" = idle ] && exit 0
    kill "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done; rm -f run/pid
    [ "$mode" = dead ] && echo "Job failed." >&2 && exit 1
    exec {start} ;;
reload)
    [ "$mode" = idle ] && exit 0
    [ "$mode" = dead ] && kill "$pid" && echo "Job failed." >&2 && exit 1
    kill -0 "$pid" 2>/dev/null || exec {start}
    kill -HUP "$pid" ;;
esac
"""
# A program of that name that fails once with these words where the file `refuse` is there and names its argument.
REFUSES = """#!/bin/sh
case "$*" in *"$(cat {home}/refuse-{name} 2>/dev/null || echo nothing at all)"*)
    rm {home}/refuse-{name}; echo "{name}: {words}" >&2; exit 1 ;;
esac
exec {real} "$@"
"""
DNSMASQ = """conf-dir={folder}
port={port}
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
user={user}
pid-file={home}/run/pid
"""
NAMED = """options {{ directory "{home}/run"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  pid-file "{home}/run/pid"; session-keyfile none; recursion no; dnssec-validation no; }};
controls {{ }};
include "{folder}/groundwork.conf";
"""


@dataclass
class Quiet:
    """Progress that nobody reads."""

    def began(self, step: str, verb: str) -> None: ...
    def ended(self, result: StepResult) -> None: ...
    def waiting(self, step: str, what: str, seconds: float, last: str) -> None: ...
    def stopping(self, steps: Sequence[str]) -> None: ...


@dataclass
class Served:
    """A name server in a folder, its cluster, and how to get to it."""

    home: Path
    cluster: Cluster
    port: int
    login: Login
    own: Own = field(default_factory=Own)

    @property
    def folder(self) -> Path:
        return self.home / "etc" / "conf.d"

    @property
    def file(self) -> Path:
        return Path(self.cluster.dns.file)

    @property
    def stage(self) -> Path:
        return self.home / "etc" / f".groundwork-{self.file.name}"

    def records(self) -> tuple[Record, ...]:
        return complete(self.cluster, self.own)

    def say(self, mode: str) -> None:
        """Let the next restart or reload be another one."""
        (self.home / "mode").write_text(mode)

    def place(self) -> None:
        """Put the files of its records in place, as a deployment before has, and start it."""
        for path, text in on_server(self.cluster, render_files(self.cluster, self.records(), {})).items():
            Path(path).parent.mkdir(exist_ok=True)
            Path(path).write_text(text)
        self.stop()
        self.start()

    def start(self) -> None:
        """Start it, as at boot."""
        os.spawnv(os.P_WAIT, str(self.home / "bin" / "boot"), ["boot"])

    def stop(self) -> None:
        path = self.home / "run" / "pid"
        if path.is_file():
            pid = int(path.read_text())
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
                until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())
            path.unlink(missing_ok=True)

    def run(self, **options: Any) -> dict[str, StepResult]:
        """Make one run of the two steps, and return its results by step."""
        host = Host(self.login_name, self.login, lambda *_: None, 60.0)
        pve = cast(Pve, SimpleNamespace(get=lambda *_, **__: {}))
        hosts = Hosts(self.login, lambda *_: None)
        session = Session(
            pve, hosts, lambda _: pve, lambda *_: None, self.home, name_server=host, dns_at=("127.0.0.1", self.port)
        )
        records = self.records()
        steps: list[Step[Session, Any, Any, Any]] = [
            NameServer(self.cluster, records),
            Zones(self.cluster, records, {}),
        ]
        evidence = dict.fromkeys([step.name for step in steps], Evidence(self.home / "state.json", "test"))
        try:
            results = Runner(steps, session, Options(**options), evidence, "", RunLog(None), Quiet()).run()
        finally:
            host.close()
        return {result.name: result for result in results}

    @property
    def login_name(self) -> str:
        return next(iter(self.login.reach)).partition(":")[0]


def until(look: Any, seconds: float = 20) -> None:
    """Wait until it is so."""
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that is free for UDP and TCP."""
    while True:
        with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as packets:
            stream.bind(("127.0.0.1", 0))
            port: int = stream.getsockname()[1]
            with contextlib.suppress(OSError):
                packets.bind(("127.0.0.1", port))
                return port


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@contextlib.contextmanager
def served(home: Path, backend: str, rollback_after: int = 60) -> Iterator[Served]:
    """Run a name server of that kind with nothing of ours in it yet."""
    folder, port = home / "etc" / "conf.d", free_port()
    for path in (folder, home / "run", home / "bin"):
        path.mkdir(parents=True)
    values = {"home": home, "folder": folder, "port": port, "user": getpass.getuser()}
    main = home / "etc" / "main.conf"
    main.write_text((DNSMASQ if backend == "dnsmasq" else NAMED).format(**values))
    name = "kubernetes.conf" if backend == "dnsmasq" else "groundwork.conf"
    if backend == "bind":
        (folder / name).write_text("")
    else:
        (folder / "provisioning.conf").write_text("host-record=installer.lan,10.9.9.9\n")
    argv = [tool("dnsmasq"), f"--conf-file={main}"] if backend == "dnsmasq" else [tool("named"), "-c", str(main), "-n1"]
    start = " ".join(argv)
    _script(home / "bin" / "systemctl", SYSTEMCTL.format(home=home, start=start))
    _script(home / "bin" / "boot", f"#!/bin/sh\nexec {start}\n")
    for program, words in (
        ("dnsmasq", "bad option"),
        ("named-checkconf", "unknown option"),
        ("named-checkzone", "bad"),
        ("tee", "write error: No space left on device"),
    ):
        real = tool(program)
        _script(home / "bin" / program, REFUSES.format(home=home, name=program, words=words, real=real))
    dns = msgspec.structs.replace(
        sample(backend).dns, file=str(folder / name), config=str(main), rollback_after=rollback_after
    )
    cluster = msgspec.structs.replace(sample(backend), dns=dns)
    with sshd(home / "sshd", f"SetEnv PATH={home}/bin:/usr/bin:/bin:/usr/sbin") as login:
        one = Served(home, cluster, port, login)
        try:
            one.start()
            yield one
        finally:
            one.stop()
