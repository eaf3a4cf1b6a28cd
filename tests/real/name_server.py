"""Own a real name server behind a real sshd, for tests: scratch folders, loopback ports, stand-ins for systemd."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
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
from lib.clients.ssh import Host, Hosts
from lib.clients.ssh_connection import Login
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

# What `systemctl VERB SERVICE` and `/etc/init.d/SERVICE VERB` do here. The file `mode` lets it fail or lie once, as a
# real one may.
CONTROL = """#!/bin/sh
cd {home}
pid=$(cat run/pid 2>/dev/null)
echo "$1" >> asked
# what has ended may wait for long until somebody asks how
runs() {{ grep -qs '^State:.[^Z]' "/proc/$1/status"; }}
end() {{ kill "$pid"; while runs "$pid"; do /bin/sleep 0.01; done; }}
mode=$(cat mode 2>/dev/null); rm -f mode
case "$1" in
is-active | status)
    [ -n "$mode" ] && echo "$mode" > mode
    runs "$pid" && echo active && exit 0
    echo inactive; exit 3 ;;
restart)
    [ "$mode" = idle ] && exit 0
    end; rm -f run/pid
    [ "$mode" = dead ] && echo "Job failed." >&2 && exit 1
    exec {start} ;;
reload)
    [ "$mode" = idle ] && exit 0
    [ "$mode" = dead ] && end && echo "Job failed." >&2 && exit 1
    runs "$pid" || exec {start}
    kill -HUP "$pid" ;;
esac
"""
NO_SYSTEMD = "System has not been booted with systemd as init system (PID 1). Can't operate."
# A session of the login finds this program and no other one: nothing is done but as root.
SUDO = """#!/bin/sh
[ "$1" = -n ] || {{ echo "sudo: a terminal is required to read the password" >&2; exit 1; }}
shift; umask 077; export PATH={search}; exec "$@"
"""
# Like systemd it knows nothing of the session.
SYSTEMD_RUN = """#!/bin/sh
while :; do case "$1" in --wait) wait=--wait ;; --quiet | --collect) ;; *) break ;; esac; shift; done
[ -n "$wait" ] && exec env -i PATH="$PATH" setsid --wait "$@"
env -i PATH="$PATH" setsid "$@" < /dev/null > /dev/null 2>&1 &
"""
# Time goes by when the test says so: who sleeps so many seconds wakes when somebody opens the clock of that name.
SLEEP = """#!/bin/sh
mkfifo {home}/clock-"$1" 2> /dev/null; read tick < {home}/clock-"$1"; exit 0
"""
# A program of that name that fails once with these words where the file `refuse` is there and names its argument.
REFUSES = """#!/bin/sh
case "$*" in *"$(cat {home}/refuse-{name} 2>/dev/null || echo nothing at all)"*)
    rm {home}/refuse-{name}; [ {name} != tee ] || cat > /dev/null  # else the session may end before its input
    echo "{name}: {words}" >&2; exit 1 ;;
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

    def wake(self, seconds: int) -> None:
        """Let the time be over for whoever sleeps so many seconds, or is about to."""
        clock = self.home / f"clock-{seconds}"
        until(clock.exists)
        os.close(os.open(clock, os.O_WRONLY))

    def rollbacks(self) -> int:
        """Return how many rollbacks sleep or work here."""
        line = f"sh\0{self.stage}/rollback.sh\0".encode()
        return sum(_read(path) == line for path in Path("/proc").glob("[0-9]*/cmdline"))

    def end_sessions(self) -> None:
        """End whatever was started in a session, as logind does where it says KillUserProcesses=yes."""
        mine = b"SSH_CONNECTION=127.0.0.1 ", f" 127.0.0.1 {next(iter(self.login.reach.values()))[1]}".encode()
        for path in Path("/proc").glob("[0-9]*/environ"):
            if all(part in _read(path) for part in mine):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(path.parent.name), signal.SIGKILL)

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


def _read(path: Path) -> bytes:
    """Return what /proc says, b"" of a process that has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


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
def served(home: Path, backend: str, manner: str = "systemd") -> Iterator[Served]:
    """Run a name server of that kind with nothing of ours in it yet.

    It is told something by systemd, by systemd and `sudo`, by `service`, or by its script in /etc/init.d. A `bare` one
    has none of the programs that come with every Debian.
    """
    folder, port = home / "etc" / "conf.d", free_port()
    for path in (folder, home / "run", home / "bin", home / "login"):
        path.mkdir(parents=True)
    values = {"home": home, "folder": folder, "port": port, "user": getpass.getuser()}
    main = home / "etc" / "main.conf"
    main.write_text((DNSMASQ if backend == "dnsmasq" else NAMED).format(**values))
    name = "kubernetes.conf" if backend == "dnsmasq" else "groundwork.conf"
    if backend == "bind":
        (folder / name).write_text("")
    else:
        (folder / "provisioning.conf").write_text("host-record=installer.lan,10.9.9.9\n")
    dns = msgspec.structs.replace(
        sample(backend).dns,
        file=str(folder / name),
        config=str(main),
        sudo=manner == "sudo",
        service=f"../..{home}/control" if manner == "init.d" else sample(backend).dns.service,
    )
    argv = [tool("dnsmasq"), f"--conf-file={main}"] if backend == "dnsmasq" else [tool("named"), "-c", str(main), "-n1"]
    search = f"{home}/bin" if manner == "bare" else f"{home}/bin:/usr/bin:/bin:/usr/sbin"
    _programs(home, manner, dns.service, " ".join(argv), search)
    login, prefix = (f"{home}/login", ("sudo", "-n")) if dns.sudo else (search, ())
    with sshd(home / "sshd", path=login, prefix=prefix) as at:
        one = Served(home, msgspec.structs.replace(sample(backend), dns=dns), port, at)
        try:
            one.start()
            yield one
        finally:
            shutil.rmtree(one.stage, ignore_errors=True)  # who wakes now finds nothing to put back
            for clock in home.glob("clock-*"):
                with contextlib.suppress(OSError):  # nobody sleeps
                    os.close(os.open(clock, os.O_WRONLY | os.O_NONBLOCK))
            until(lambda: one.rollbacks() == 0)
            one.stop()


def _programs(home: Path, manner: str, service: str, start: str, search: str) -> None:
    """Write the programs that stand in for others."""
    _script(home / "bin" / "boot", f"#!/bin/sh\nexec {start}\n")
    _script(home / "bin" / "sleep", SLEEP.format(home=home))
    _script(home / "control", CONTROL.format(home=home, start=start))
    if manner in ("systemd", "sudo"):
        (home / "bin" / "systemctl").symlink_to(home / "control")
    else:
        _script(home / "bin" / "systemctl", f'#!/bin/sh\necho "{NO_SYSTEMD}" >&2; exit 1\n')
        there = f'[ "$1" = {service} ] && exec {home}/control "$2"\nexit 1' if manner == "service" else "exit 127"
        _script(home / "bin" / "service", f"#!/bin/sh\n{there}\n")
    if manner == "sudo":
        _script(home / "login" / "sudo", SUDO.format(search=search))
        _script(home / "bin" / "systemd-run", SYSTEMD_RUN)
    for program, words in (
        ("dnsmasq", "bad option"),
        ("named-checkconf", "unknown option"),
        ("named-checkzone", "bad"),
        ("tee", "write error: No space left on device"),
        ("cp", "write error: No space left on device"),
        ("test", ""),
    ):
        real = tool(program)
        _script(home / "bin" / program, REFUSES.format(home=home, name=program, words=words, real=real))
