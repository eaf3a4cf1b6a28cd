"""Own the look at the name server before anything is changed there: does it run, and who else speaks for our names?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import ClassVar

import msgspec
from msgspec.structs import replace

from lib.clients.ssh import Host
from lib.clients.waiting import together
from lib.command import Command, Result, read
from lib.config.model import Cluster
from lib.config.records_model import Record
from lib.engine.step import Change, Inputs, Step
from lib.errors import Problem, RemoteError, StepError
from lib.facts import foreign as facts
from lib.facts.dnsmasq_files import HOSTS, Read, read_files, takes
from lib.steps.session import Session
from lib.zones import by_zone, zones_folder

ANY = frozenset(range(256))
NO_PROGRAM = (126, 127)
NO_TIMEOUT = re.compile(r"timeout: (command )?not found")
NOT_HERE = (1, 127)  # systemctl where systemd did not boot the host, and no such program
RESOLV = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")


class Control(msgspec.Struct, frozen=True):
    """How the service is told something: the words before and after the verb.

    `ends` of names are what dnsmasq leaves out of the folder of ours (`.old`), or takes alone (`*.conf`).
    """

    before: tuple[str, ...]
    after: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()

    def says(self, verb: str) -> tuple[str, ...]:
        """Return the command."""
        return (*self.before, verb, *self.after)


class Seen(msgspec.Struct, frozen=True):
    """The name server as it is.

    `state` is what is wrong with the service, `config` what is wrong with its configuration as it is on its disk;
    `unfinished` tells that a deployment was interrupted, which may be why the server is not well. `stub` and
    `loop` tell that it asks 127.0.0.53, and that this asks it again, `stub_on` which Proxmox hosts ask it.
    """

    control: Control
    state: str
    config: Problem | None
    claims: tuple[facts.Claim, ...]
    unfinished: bool
    loop: bool = False
    stub: bool = False
    stub_on: tuple[str, ...] = ()


def stage_of(file: str) -> str:
    """Return the folder that is ours alone while a deployment lasts: hidden, beside the folder of the file."""
    path = PurePosixPath(file)
    return str(path.parent.parent / f".groundwork-{path.name}")


def config_check(cluster: Cluster) -> tuple[str, ...]:
    """Return the server's own check of its whole configuration, as it is on its disk; BIND's prints it."""
    config = cluster.dns.config
    if cluster.dns.backend == "dnsmasq":
        return ("dnsmasq", "--test", *([f"--conf-file={config}"] if config else []))
    return ("named-checkconf", "-p", "-x", *([config] if config else []))


def complaint(result: Result) -> str:
    """Return what a check complains of, in its last lines; "" where it ended with 0."""
    told = (result.stderr.strip() or result.stdout.strip()).splitlines()[-4:]
    return "" if result.exit == 0 else " · ".join(told) or f"it ended with {result.exit}"


class NameServer(Step[Session, Seen, Cluster, Control]):
    """Check that the name server runs, is well, and that nobody else there answers for our names."""

    name: ClassVar[str] = "name_server"
    needs: ClassVar[tuple[str, ...]] = ("validation",)
    checks_only: ClassVar[bool] = True
    max_age: ClassVar[float | None] = 86400.0

    def __init__(self, cluster: Cluster, records: tuple[Record, ...]) -> None:
        self._cluster = cluster
        self._dns = cluster.dns
        self._records = records

    def desired(self, inputs: Inputs) -> Cluster:
        """Want what cluster.toml says."""
        return self._cluster

    def observe(self, at: Session, recent: bool) -> Seen:
        """Ask for the service, check its configuration, read what else is in it; now and then, whom all ask."""
        host, dnsmasq = at.name_server, self._dns.backend == "dnsmasq"
        if self._dns.sudo:
            host.run(read("true"))  # else a sudo that refuses would look like files that are not there
        active, config, text = host.run_all(
            read("systemctl", "is-active", self._dns.service, ok=ANY),
            read(*config_check(self._cluster), ok=ANY),
            lines_of(HOSTS, *self._begin()) if dnsmasq else read("cat", self._dns.file, ok=ANY),
        )
        if NO_TIMEOUT.search(config.stderr):
            fix = "every command there is run by it, so that it ends: install coreutils (OpenWrt: coreutils-timeout)"
            raise StepError(f"name server {self._dns.server}", f"has no timeout ({config.stderr.strip()})", fix)
        control, state = self._service(host, active)
        wrong = self._unfit(config, text)
        files = self._followed(host, text.stdout) if dnsmasq else Read()
        seen = Seen(
            control=replace(control, ends=files.folders.get(self._begin()[1], ())),
            state=state,
            config=wrong,
            claims=tuple(self._claims(files, config.stdout)),
            unfinished=bool(state or wrong) and _is_there(host, stage_of(self._dns.file)),
        )
        forwards = dnsmasq and not files.values("no-resolv", "resolv-file")
        return seen if recent else self._with_resolvers(at, seen, forwards)

    def _with_resolvers(self, at: Session, seen: Seen, forwards: bool) -> Seen:
        """Look whom the server asks (where it asks whom /etc/resolv.conf names), and whom the Proxmox hosts ask."""
        stubs = together(*(partial(_asks_stub, at, each.name) for each in self._cluster.proxmox.hosts))
        resolv = at.name_server.run(read("grep", "-H", "nameserver", *RESOLV, ok=ANY)).stdout
        return replace(
            seen,
            loop=forwards and facts.is_loop(resolv, self._dns.server),
            stub=forwards and facts.asks_stub(resolv),
            stub_on=tuple(name for name in stubs if name),
        )

    def _begin(self) -> tuple[str, str]:
        """Return where dnsmasq begins to read: its main file, and the folder of ours."""
        return self._dns.config or "/etc/dnsmasq.conf", str(PurePosixPath(self._dns.file).parent)

    def _followed(self, host: Host, printed: str) -> Read:
        """Return what dnsmasq reads, with the files that those name which were printed, and those that they name."""
        asked = {HOSTS, *self._begin()}
        found = read_files(printed, *self._begin())
        while further := {path for path in found.named if path.startswith("/") and not asked & _above(path)}:
            asked |= further
            printed += host.run(lines_of(*sorted(further))).stdout
            found = read_files(printed, *self._begin())
        return found

    def _service(self, host: Host, active: Result) -> tuple[Control, str]:
        """Find out how the service is told something, and what is wrong with it ("": it runs)."""
        service = self._dns.service
        control = Control(("systemctl",), (service,))
        if active.exit not in NOT_HERE:
            return control, "" if active.exit == 0 else active.stdout.strip() or complaint(active)
        for control in (Control(("service", service)), Control((f"/etc/init.d/{service}",))):
            told = host.run(read(*control.says("status"), ok=ANY))
            if told.exit != 127:
                break
        return control, complaint(told)

    def _unfit(self, config: Result, text: Result) -> Problem | None:
        """Return what the server's own check says against its configuration, or that this lacks our file (BIND)."""
        path, server, bind = self._dns.file, self._dns.server, self._dns.backend == "bind"
        program, *words = config_check(self._cluster)
        if config.exit in NO_PROGRAM:
            problem = f"has no {program} that {self._dns.user} finds"
            fix = "is it what runs there (dns.backend)? Else install it, or have it in the PATH of that login"
            return Problem(f"{self._dns.backend} on {server}", problem, fix, "dns.backend")
        if config.exit != 0:
            problem = f"refuses its configuration, and nothing has been changed yet\n    {complaint(config)}"
            make = f"if it is {path} that is missing, make it there, empty (touch {path}); else " if text.exit else ""
            fix = f"{make if bind else ''}mend it until this ends with 0: {' '.join((program, *words))}"
            return Problem(f"{self._dns.backend} on {server}", problem, fix)
        read_there = {zone for zone, _ in facts.zone_files(config.stdout)}
        if bind and not read_there >= {zone for zone, _ in facts.zone_files(text.stdout)}:
            return not_included(path, server)
        return None

    def _claims(self, files: Read, printed: str) -> Iterator[facts.Claim]:
        if self._dns.backend == "dnsmasq":
            return facts.in_dnsmasq(files, self._dns.file, self._records)
        zones = by_zone(self._cluster, self._records)
        return facts.in_bind(printed, zones_folder(self._cluster), zones, self._records)

    def changes(self, seen: Seen, wanted: Cluster) -> Iterator[Change]:
        """Change nothing: this only looks."""
        return iter(())

    def problems(self, seen: Seen, wanted: Cluster) -> Iterator[Problem]:
        """Yield what is wrong before we have changed anything, and whoever else answers for our names."""
        server, service = self._dns.server, self._dns.service
        if seen.state and not seen.unfinished:
            problem = f"does not run, and nothing has been changed yet (got {seen.state})"
            fix = f"see there why, and start it: {' '.join(seen.control.says('start'))}; or mend dns.service"
            yield Problem(f"service {service} on {server}", problem, fix, "dns.service")
        if seen.config and not seen.unfinished:
            yield seen.config
        path, ends = PurePosixPath(self._dns.file), seen.control.ends
        if not takes(ends, path.name):
            problem = (
                f"is not read by dnsmasq there: its folder is read as conf-dir={','.join((str(path.parent), *ends))}"
            )
            yield Problem(f"{path} on {server}", problem, "name dns.file so that it is", "dns.file")
        for claim in seen.claims:
            if not claim.same:
                fix = "take it out there, or name it otherwise here; files of others are never touched"
                yield Problem(claim.place, f"answers for {claim.name}, too ({claim.line})", fix)
        if seen.loop:
            problem = "asks 127.0.0.53, and systemd-resolved there asks it again: a loop for every other name"
            fix = "name forwarders in dns.upstream and say `no-resolv` there, or set DNS= in /etc/systemd/resolved.conf"
            yield Problem(f"name server {server}", problem, fix)

    def remarks(self, seen: Seen) -> Iterator[str]:
        """Yield who says the same as we do, and who asks systemd-resolved."""
        for claim in seen.claims:
            if claim.same:
                yield f"{claim.place} says the same of {claim.name} ({claim.line})"
        if seen.stub and not seen.loop:
            yield f"{self._dns.server} asks 127.0.0.53 for other names: it must not be what systemd-resolved asks there"
        for name in seen.stub_on:
            yield f"{name} asks 127.0.0.53: it must have {self._dns.server} behind it to know our names"

    def apply(self, at: Session, seen: Seen, wanted: Cluster) -> None:
        """Do nothing: a check has nothing to apply."""

    def output(self, seen: Seen, wanted: Cluster) -> Control:
        """Give how the service is told something."""
        return seen.control

    def reason(self, seen: Seen, wanted: Cluster) -> str:
        """Say what was looked at."""
        return f"{self._dns.service} on {self._dns.server} runs, its configuration is right, no name is taken"


def not_included(path: str, server: str) -> Problem:
    """Return that BIND's own configuration does not name our file."""
    fix = f'add to its own configuration: include "{path}";'
    return Problem(f"named on {server}", f"does not read {path}", fix, "dns.file")


def lines_of(*paths: str) -> Command:
    """Make a command that prints every line of files and all below folders, each with its file."""
    return read("grep", "-aRH", "", *paths, ok=ANY)


def _above(path: str) -> set[str]:
    """Return the path and all that it lies in."""
    return {path, *map(str, PurePosixPath(path).parents)}


def _is_there(host: Host, path: str) -> bool:
    return host.run(read("test", "-e", path, ok=frozenset({0, 1}))).exit == 0


def _asks_stub(at: Session, node: str) -> str:
    """Return the node's name where its resolver is 127.0.0.53. API: /nodes/{node}/dns."""
    try:
        told = at.pve.get(f"/nodes/{node}/dns")
    except RemoteError:
        return ""  # what is wrong with a host is validation's
    return node if facts.STUB in (told.get("dns1"), told.get("dns2"), told.get("dns3")) else ""
