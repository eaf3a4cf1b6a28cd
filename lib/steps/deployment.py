"""Own how files get into effect on the name server: staged, checked, moved with a rollback armed, proven or put back.

The one move of `dns.file` is what takes effect. From before it until the proof the server itself holds a
script that puts the old file back when nobody speaks up. Of all who may end that (the proof, our own
retreat, the script) exactly one wins: who renames the file `armed-TOKEN`. The token is this deployment's
alone: a script that still sleeps after its deployment was proven has no hold on the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NoReturn

import msgspec

from lib.clients.ssh import Host
from lib.clients.waiting import OnWait, wait_for
from lib.command import Command, Result, read, write
from lib.config.model import Cluster
from lib.errors import GroundworkError, LostAnswerError, StepError, WaitTimeoutError
from lib.facts.answers import listed
from lib.render import render
from lib.steps.name_server import Control, complaint, config_check, not_included, stage_of

ANY = frozenset(range(256))
ONE = frozenset({0, 1})
SCRIPT_SECONDS = 10.0
PROOF_SECONDS = 10.0


class Files(msgspec.Struct, frozen=True):
    """What is deployed: the text of `dns.file`, zone files to write first, old ones to remove when all is right.

    `old` tells that there is a `dns.file` already.
    """

    text: str
    zones: Mapping[str, str]
    old: bool
    obsolete: tuple[str, ...]


Proof = Callable[[], list[str]]  # returns what is not answered as it should be


class Deployment:
    """One deployment onto one name server."""

    def __init__(self, host: Host, cluster: Cluster, control: Control, on_wait: OnWait) -> None:
        self._host = host
        self._cluster = cluster
        self._dns = cluster.dns
        self._control = control
        self._on_wait = on_wait
        self._stage = stage_of(self._dns.file)
        self._token = secrets.token_hex(4)
        self._verb = "restart" if self._dns.backend == "dnsmasq" else "reload"

    # ------------------------------------------------------------ transaction

    def run(self, files: Files, right: Proof, as_before: Proof) -> None:
        """Put the files into effect and prove it with `right`; else put the old ones back and prove that.

        Raises:
            StepError: what was refused or not answered rightly, and what became of the old state.
        """
        self._fit()
        self._host.run(write("mkdir", self._stage))  # where it is there, somebody else is at work
        try:
            self._put(files)
            self._check(files)
            self._arm()
        except GroundworkError:
            with contextlib.suppress(GroundworkError):  # what is left is the next run's
                self._clear(files.zones)
            raise
        try:
            self._host.run(write("mv", "-f", f"{self._stage}/new", self._dns.file))
            self._check_whole(files)
            self._host.run(write(*self._control.says(self._verb)))
            self._prove(right)
            kept = self._disarm()
        except GroundworkError as error:
            self._retreat(error, as_before)
        if not kept:
            self._gone()
            raise StepError(
                f"name server {self._dns.server}",
                f"put the old files back by itself: the proof took more than {self._dns.rollback_after} s",
                "raise dns.rollback_after in cluster.toml",
            )
        self._clear(files.obsolete)

    def _fit(self) -> None:
        """Refuse a folder that nothing can be moved into in one step, or that the login may not write to."""
        folder = PurePosixPath(self._dns.file).parent
        both = (str(folder), str(folder.parent))
        found, *may = self._host.run_all(
            read("stat", "-c", "%d", *both, ok=ANY), *(read("test", "-w", each, ok=ONE) for each in both)
        )
        if found.exit != 0:
            raise StepError(f"{folder} on {self._dns.server}", "is not there", "make it, or mend dns.file", "dns.file")
        if len(set(found.stdout.split())) > 1:
            problem = f"is another filesystem than {folder.parent}: nothing can be moved into it in one step"
            raise StepError(f"{folder} on {self._dns.server}", problem, "name a file in another folder", "dns.file")
        for each in (path for path, answer in zip(both, may, strict=True) if answer.exit != 0):
            fix = f"let it: dns.sudo = true, or another dns.user; {folder.parent} is where files are staged"
            raise StepError(f"{each} on {self._dns.server}", f"cannot be written by {self._dns.user}", fix, "dns.user")

    def _put(self, files: Files) -> None:
        """Write all that is new, where no service reads it, and see that it is whole."""
        stage, host = self._stage, self._host
        if files.zones:
            host.run(write("mkdir", "-p", "-m", "755", *{str(PurePosixPath(path).parent) for path in files.zones}))
        written = {path: text.encode() for path, text in files.zones.items()} | {
            f"{stage}/new": files.text.encode(),
            f"{stage}/restore.sh": self._script(files, 0),
            f"{stage}/rollback.sh": self._script(files, self._dns.rollback_after),
        }
        puts = [Command(("tee", path), stdin=content) for path, content in written.items()]
        digests = {path: hashlib.sha256(content).hexdigest() for path, content in written.items()}
        # `back` is what the script moves: a disk that is full by then does not stop it
        kept = [f"{stage}/old", f"{stage}/back"] if files.old else []
        puts += [write("cp", "-p", self._dns.file, copy) for copy in kept]
        host.run_all(*puts, write("tee", f"{stage}/ready"))
        modes = write("chmod", "644", f"{stage}/new", *files.zones)
        before = [self._dns.file] if kept else []
        printed = host.run_all(read("sha256sum", *digests, *before, *kept), modes)[0].stdout
        found = {path: digest for digest, _, path in (line.partition("  ") for line in printed.splitlines())}
        digests |= {copy: found[path] for path in before for copy in kept}
        wrong = [path for path, digest in digests.items() if found.get(path) != digest]
        if wrong:
            problem = f"has another content than what was written ({', '.join(wrong)})"
            raise StepError(
                f"name server {self._dns.server}", problem, "is its disk full, or somebody else at work there?"
            )

    def _script(self, files: Files, seconds: int) -> bytes:
        """Render what puts the old file back: after so many seconds, or with 0 at once."""
        script = render(
            "dns-rollback.sh.j2",
            stage=self._stage,
            token=self._token,
            seconds=seconds,
            file=self._dns.file,
            old=files.old,
            service=" ".join(self._control.says(self._verb)),
            new=list(files.zones),
        )
        return script.encode()

    # ---------------------------------------------------------------- checks

    def _check(self, files: Files) -> None:
        """Let the server's own programs check what is staged, beside what else is there."""
        new = f"{self._stage}/new"
        if self._dns.backend == "dnsmasq":
            path = PurePosixPath(self._dns.file)
            # a file is left out whose name is longer than one of these and ends so: all but the first letter of ours
            others = ",".join((str(path.parent), path.name[1:], *self._control.ends))
            checks: list[tuple[str, ...]] = [("dnsmasq", "--test", f"--conf-file={new}", f"--conf-dir={others}")]
        else:
            zones = {path.rpartition("/")[2].rpartition(".zone")[0].rpartition(".")[0]: path for path in files.zones}
            checks = [("named-checkzone", "-k", "fail", "-i", "local", zone, path) for zone, path in zones.items()]
            checks.append(("named-checkconf", new))
        results = self._host.run_all(*(read(*argv, ok=ANY) for argv in checks))
        for argv, result in zip(checks, results, strict=True):
            self._refused(" ".join(argv), result)

    def _check_whole(self, files: Files) -> None:
        """Check the whole configuration before the service reads it: one that it refuses would end it."""
        argv = config_check(self._cluster)
        result = self._host.run(read(*argv, ok=ANY))
        self._refused(" ".join(argv), result)
        if self._dns.backend == "bind" and f'"{self._dns.domain}"' not in result.stdout:
            lacks = not_included(self._dns.file, self._dns.server)
            raise StepError(lacks.subject, lacks.problem, lacks.fix, lacks.where)

    def _refused(self, line: str, result: Result) -> None:
        if result.exit != 0:
            problem = f"refuses what was to be deployed: `{line}`\n    {complaint(result)}"
            raise StepError(f"{self._dns.backend} on {self._dns.server}", problem, "mend the records that it names")

    # ----------------------------------------------------- rollback and proof

    def _arm(self) -> None:
        """Start the script on the server that puts the old file back, and see it run."""
        script, apart = ("sh", f"{self._stage}/rollback.sh"), self._apart()
        if apart:
            self._host.run(write(*apart, *script))
        else:
            self._host.start(*script)
        try:
            self._until("the rollback to be armed", lambda: self._is_there(f"armed-{self._token}"))
        except WaitTimeoutError as error:
            fix = f"does `nohup sh FILE` of {self._dns.user} run on there? Without a rollback nothing is changed"
            raise StepError(error.report.subject, error.report.problem, fix) from None

    def _apart(self) -> tuple[str, ...]:
        """Return what runs a script outside our session, where a host may end what a session leaves; () if none.

        logind spares root there (KillExcludeUsers); of the others only who has sudo may ask systemd for it.
        """
        by_systemd = self._dns.sudo and self._control.before == ("systemctl",)
        return ("systemd-run", "--quiet", "--collect") if by_systemd else ()

    def _disarm(self) -> bool:
        """Take away what the rollback needs; tell whether it was still there. A lost answer is looked for."""
        mine, proven = f"{self._stage}/armed-{self._token}", f"{self._stage}/proven"
        try:
            return self._host.run(write("mv", mine, proven, ok=ONE)).exit == 0
        except LostAnswerError:
            return self._is_there("proven")

    def _prove(self, right: Proof) -> None:
        """Ask until everything is right.

        Raises:
            StepError: with all that was not, after half the time that the rollback leaves.
        """
        wrong: list[str] = []

        def look() -> tuple[bool | None, str]:
            wrong[:] = right()
            return (None if wrong else True), f"{len(wrong)} answers are not right, as {wrong[0]}" if wrong else "right"

        try:
            limit = min(PROOF_SECONDS, self._dns.rollback_after / 2)
            wait_for(f"the right answers of {self._dns.server}", look, limit, self._on_wait)
        except WaitTimeoutError:
            what = f"{len(wrong)} records are not answered as they should be\n" + listed(wrong)
            fix = f"see what its log says: journalctl -u {self._dns.service}; `invoke dns.query` asks again"
            raise StepError(f"name server {self._dns.server}", what, fix) from None

    def _retreat(self, error: GroundworkError, as_before: Proof) -> NoReturn:
        """Put the old file back, prove the old answers, and raise what went wrong with what became of it."""
        report = error.report
        try:
            self._undo()
            self._prove(as_before)
        except GroundworkError as further:
            after = self._dns.rollback_after
            told = f"the old state could not be proven again ({further.report.problem})"
            fix = f"the server puts its old file back by itself within {after} s; then run the same command again"
            raise StepError(report.subject, f"{report.problem}\n{told}", f"{report.fix}\n{fix}") from None
        told = "the old files are back, and the old answers proven"
        raise StepError(report.subject, f"{report.problem}\n{told}", report.fix) from None

    def _undo(self) -> None:
        """Run the script that puts the old file back, or see it end where it already runs."""
        if self._restore(ANY).exit != 0:
            self._gone()

    def _restore(self, ok: frozenset[int]) -> Result:
        apart = self._apart()
        before = (*apart, "--wait") if apart else ("nohup",)
        return self._host.run(write(*before, "sh", f"{self._stage}/restore.sh", ok=ok))

    def remove(self, paths: Sequence[str]) -> None:
        """Remove zone files that nothing names."""
        self._host.run(write("rm", "-f", *paths))

    def resolve(self, left: Sequence[str]) -> None:
        """End what an interrupted run has left: keep what was proven, put back what was not, drop what was staged."""
        stage = self._stage
        tokens = {mark: token for mark, dash, token in (name.partition("-") for name in left) if dash}
        if "armed" in tokens:
            self._undo()
        elif "fired" in tokens:
            try:
                self._gone()
            except WaitTimeoutError:  # it was cut off itself
                if "old" in left:
                    self._host.run(write("cp", "-p", f"{stage}/old", f"{stage}/back"))
                self._host.run(write("mv", f"{stage}/fired-{tokens['fired']}", f"{stage}/armed-{tokens['fired']}"))
                self._restore(frozenset({0}))
        else:
            self._clear(())

    # ------------------------------------------------------------------ stage

    def _gone(self) -> None:
        self._until("the old file to be put back", lambda: not self._is_there(""))

    def _is_there(self, name: str) -> bool:
        path = f"{self._stage}/{name}" if name else self._stage
        return self._host.run(read("test", "-e", path, ok=ONE)).exit == 0

    def _until(self, what: str, look: Callable[[], bool]) -> None:
        wait_for(f"{what} on {self._dns.server}", lambda: (look() or None, "not yet"), SCRIPT_SECONDS, self._on_wait)

    def _clear(self, paths: Sequence[str] | Mapping[str, str]) -> None:
        """Remove zone files that nothing names, and the stage."""
        if paths:
            self._host.run(write("rm", "-f", *paths))
        self._host.run(write("rm", "-rf", self._stage))
