"""Own our zones on the name server: the deployed files and the answers, against what every record says."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import dns.exception
import msgspec

from lib.clients.dns import Question, Resolver
from lib.command import read
from lib.config.model import Cluster
from lib.config.records_model import Record
from lib.engine.step import Change, Danger, Inputs, Step, Unknown
from lib.errors import Problem, RefusedError, StepError
from lib.facts import answers as facts
from lib.facts.answers import Answer, Key
from lib.facts.foreign import zone_files
from lib.facts.record_changes import RecordChange, label, record_changes
from lib.facts.zones import from_bind, from_dnsmasq, serial_of
from lib.steps.deployment import Deployment, Files
from lib.steps.name_server import Control, NameServer, lines_of, stage_of
from lib.steps.session import Session
from lib.zones import MARK, There, by_zone, on_server, render_files, zones_folder

ANY = frozenset(range(256))
REMOVE, OVERWRITE = "remove-records", "overwrite-foreign-file"
OURS = re.compile(r"/.+\.\d+\.zone")  # in the zone folder
MANY = 10  # records may go without being allowed, or a third of all
RESTARTED = "restarted: DNS and DHCP pause for a moment"  # dnsmasq reads records at its start alone
SETTINGS = re.compile(r"^\s*(?:options|include|acl|view|controls|key|logging|server)\b.*", re.MULTILINE)


class Answers(msgspec.Struct, frozen=True):
    """What the name server answers, by each way; `long` are the answers that UDP has no room for."""

    udp: Mapping[Key, Answer]
    tcp: Mapping[Key, Answer]
    long: frozenset[Key]
    why: str

    def wrong(self, want: Mapping[Key, Answer]) -> list[facts.Difference]:
        """Return what is not answered as it should be."""
        return list(facts.differences(want, self.udp, self.tcp, self.long))


class Seen(msgspec.Struct, frozen=True):
    """What is deployed and what is answered.

    `text` is that of `dns.file` (None: there is none), `zones` are the texts in our zone folder by path;
    `left` names what an interrupted run has left, None where there is nothing.
    """

    text: str | None
    zones: Mapping[str, str]
    left: tuple[str, ...] | None
    answers: Answers

    def named(self) -> dict[str, str]:
        """Return the text of each zone that `dns.file` names, "" where its file is missing."""
        return {zone: self.zones.get(path, "") for zone, path in zone_files(self.text or "")}


class Zones(Step[Session, Seen, Control, None]):
    """Keep every record deployed, and answered over UDP and TCP."""

    name: ClassVar[str] = "zones"
    needs: ClassVar[tuple[str, ...]] = ("name_server",)
    overrides: ClassVar[tuple[str, ...]] = (REMOVE, OVERWRITE)

    def __init__(self, cluster: Cluster, records: tuple[Record, ...], tracked: Mapping[str, str]) -> None:
        """`tracked` are the files in dns/, whose serials count."""
        self._cluster = cluster
        self._dns = cluster.dns
        self._bind = cluster.dns.backend == "bind"
        self._records = records
        self._tracked = tracked
        self._folder = zones_folder(cluster)
        self._asked = facts.wanted(records)
        self._zones = tuple(by_zone(cluster, records))
        if not self._bind:
            self.on_rerun = f"{self.on_rerun}: {cluster.dns.service} is {RESTARTED}"

    def desired(self, inputs: Inputs) -> Control | Unknown:
        """Want every record; what has to be known of the server before is how its service is told something."""
        return inputs.of(NameServer)

    # -------------------------------------------------------------- observe

    def observe(self, at: Session, recent: bool) -> Seen:
        """Read what is deployed and what an interrupted run has left; ask for every record."""
        path = self._dns.file
        with ThreadPoolExecutor(1) as beside:
            asked = beside.submit(self._ask, at, True)
            text, left, *more = at.name_server.run_all(
                read("cat", path, ok=ANY),
                read("ls", "-A", stage_of(path), ok=ANY),
                *([lines_of(self._folder)] if self._bind else []),
            )
        return Seen(
            text=text.stdout if text.exit == 0 else None,
            zones=_texts(more[0].stdout) if more else {},
            left=tuple(left.stdout.split()) if left.exit == 0 else None,
            answers=asked.result(),
        )

    def _ask(self, at: Session, patient: bool) -> Answers:
        """Ask for every record, and with BIND for the serial of each zone."""
        serials = [Question(zone, "SOA") for zone in self._zones] if self._bind else []
        udp, tcp = Resolver(*at.dns_at).ask([*(Question(*key) for key in self._asked), *serials], patient)
        why = next((reply.why for reply in (*udp.values(), *tcp.values()) if reply.why), "")
        return Answers(facts.answers(udp), facts.answers(tcp), facts.long(tcp), why)

    # -------------------------------------------------------------- compare

    def _files(self, seen: Seen) -> dict[str, str]:
        """Return the files by their path on the server, with serials past what is there and what is served."""
        return on_server(self._cluster, self._rendered(seen))

    def _rendered(self, seen: Seen) -> dict[str, str]:
        soa = {zone: seen.answers.udp.get((zone, "SOA")) for zone in self._zones}
        serials = {zone: int(next(iter(one.data))[0]) for zone, one in soa.items() if one and one.data}
        there = There(seen.named(), serials)
        return render_files(self._cluster, self._records, self._tracked, there)

    def _want(self, files: Mapping[str, str]) -> dict[Key, Answer]:
        """Return what has to be answered when these files are in effect."""
        serials = {zone: serial_of(files[path]) for zone, path in zone_files(files[self._dns.file]) if path in files}
        return self._asked | {
            (zone, "SOA"): Answer(frozenset({(serial,)})) for zone, serial in serials.items() if serial is not None
        }

    def _deployed(self, seen: Seen) -> tuple[tuple[Record, ...], tuple[str, ...]]:
        """Return the records in the deployed files, and what else stands there."""
        if not self._bind:
            return from_dnsmasq(seen.text or "")
        records: list[Record] = []
        other = [line.strip() for line in SETTINGS.findall(seen.text or "")]
        for zone, text in seen.named().items():
            try:
                records += from_bind({zone: text})
            except (dns.exception.DNSException, ValueError) as error:
                other.append(f"zone {zone} cannot be read ({error})")
        return tuple(records), tuple(other)

    def _is_deployed(self, seen: Seen, files: Mapping[str, str]) -> bool:
        return seen.text == files[self._dns.file] and not self._to_write(seen, files)

    def _to_write(self, seen: Seen, files: Mapping[str, str]) -> dict[str, str]:
        """Return the zone files that are not there yet."""
        zones = {path: text for path, text in files.items() if path != self._dns.file}
        return {path: text for path, text in zones.items() if seen.zones.get(path) != text}

    def _stray(self, seen: Seen, files: Mapping[str, str]) -> tuple[str, ...]:
        """Return zone files of ours that have no use once these files are in effect."""
        return tuple(
            path
            for path, text in sorted(seen.zones.items())
            if path not in files and OURS.fullmatch(path) and MARK in text.partition("\n")[0]
        )

    def changes(self, seen: Seen, wanted: Control) -> Iterator[Change]:
        """Compare what is deployed and what is answered, record by record."""
        if seen.left is not None:
            yield Change("unfinished deployment", "of an earlier run", "ended first")
        files = self._files(seen)
        found = list(self._differences(seen, files))
        yield from found
        if found and not self._bind:
            yield Change(f"service {self._dns.service}", "runs", RESTARTED)
        named = {path for _, path in zone_files(seen.text or "")}
        for path in self._stray(seen, files):
            if path not in named:
                yield Change(path, "a zone file that nothing names", None)

    def _differences(self, seen: Seen, files: Mapping[str, str]) -> Iterator[Change]:
        """Yield what a deployment closes: by the files where they differ, else by what is answered."""
        if self._is_deployed(seen, files):
            wrong = seen.answers.wrong(self._want(files))
            yield from (self._change(RecordChange(*one.key, *one.sides())) for one in wrong)
            return
        records, other = self._deployed(seen)
        differs = list(record_changes(records, self._records))
        yield from (self._change(one) for one in differs)
        yield from (Change(self._dns.file, line, None) for line in other)
        if not differs and not other:
            yield Change(self._dns.file, None if seen.text is None else "other text", "written")

    def _change(self, one: RecordChange) -> Change:
        return Change(label(one.name, one.type, self._dns.domain), one.before, one.after)

    def problems(self, seen: Seen, wanted: Control) -> Iterator[Problem]:
        """Yield a name server that answers nothing before we have changed anything, and nothing to deploy."""
        if not self._records:
            fix = "cluster.toml and dns/records.toml give no name at all"
            yield Problem("zones", "would be empty: an empty set of records is never deployed", fix)
        for way, found in (("UDP", seen.answers.udp), ("TCP", seen.answers.tcp)):
            if found and all(one.status == "no answer" for one in found.values()) and seen.left is None:
                problem = f"does not answer over {way}, and nothing has been changed yet ({seen.answers.why})"
                fix = f"does {self._dns.service} run there and listen on that address, and does no firewall stop us?"
                fix += "" if self._bind else " dnsmasq with `local-service` answers the networks that it is in, alone"
                yield Problem(f"name server {self._dns.server}", problem, fix)

    def dangers(self, seen: Seen, wanted: Control) -> Iterator[Danger]:
        """Yield the loss of many records, and of what somebody else has written into our file."""
        if self._is_deployed(seen, self._files(seen)):
            return
        records, other = self._deployed(seen)
        before = {(one.name, one.type) for one in records}
        gone = before - {(one.name, one.type) for one in self._records}
        if len(gone) > max(MANY, len(before) // 3):
            yield Danger(REMOVE, f"{len(gone)} of {len(before)} records would go")
        if other and MARK not in (seen.text or "").partition("\n")[0]:
            told = "; ".join(other[:3])
            yield Danger(OVERWRITE, f"{self._dns.file} was not written by us, and has more than records ({told})")

    def remarks(self, seen: Seen) -> Iterator[str]:
        """Yield that the tracked files are not what is deployed."""
        fresh = render_files(self._cluster, self._records, self._tracked)
        if any(self._tracked.get(path) != text for path, text in fresh.items()):
            yield "the files in dns/ are stale, what is deployed is rendered anew: invoke dns.render"

    # ---------------------------------------------------------------- apply

    def apply(self, at: Session, seen: Seen, wanted: Control) -> None:
        """End what an interrupted run has left; deploy as one transaction, proven or put back."""
        deployment = Deployment(at.name_server, self._cluster, wanted, at.on_wait)
        if seen.left is not None:
            deployment.resolve(seen.left)
            seen = self._again(at, seen, wanted)
            if not list(self.changes(seen, wanted)):
                return
        files = self._files(seen)
        stray = self._stray(seen, files)
        if stray and not list(self._differences(seen, files)):
            deployment.remove(stray)
            return
        want, before = self._want(files), seen.answers
        deployment.run(
            Files(files[self._dns.file], self._to_write(seen, files), seen.text is not None, stray),
            right=lambda: list(map(str, self._ask(at, False).wrong(want))),
            as_before=lambda: list(_otherwise(before, self._ask(at, False))),
        )

    def _again(self, at: Session, seen: Seen, wanted: Control) -> Seen:
        """Look again, and go on only where it is not worse than what was planned."""
        again = self.observe(at, False)
        for problem in self.problems(again, wanted):
            raise StepError(problem.subject, problem.problem, problem.fix)
        allowed = {danger.override for danger in self.dangers(seen, wanted)}
        for danger in self.dangers(again, wanted):
            if danger.override not in allowed:
                raise RefusedError("zones", f"refused: {danger.what}", f"add --allow {danger.override}")
        return again

    def output(self, seen: Seen, wanted: Control) -> None:
        """Give nothing."""

    def reason(self, seen: Seen, wanted: Control) -> str:
        """Say what was compared."""
        return f"{len(self._records)} records as deployed, {len(self._asked)} answers right over UDP and TCP"


def _texts(printed: str) -> dict[str, str]:
    """Return path → text from what `grep -rH` printed."""
    found: defaultdict[str, str] = defaultdict(str)
    for row in printed.split("\n")[:-1]:
        path, _, line = row.partition(":")
        found[path] += f"{line}\n"
    return dict(found)


def _otherwise(before: Answers, now: Answers) -> Iterator[str]:
    """Yield what is not answered as it was before; what had no answer then may have one."""
    for way, old, new in (("UDP", before.udp, now.udp), ("TCP", before.tcp, now.tcp)):
        for key, answer in old.items():
            got = new[key]
            if answer.status != "no answer" and (got.status, got.data) != (answer.status, answer.data):
                name, kind = key
                yield f"{kind} {name} over {way}: got {got}, before {answer}"
