"""The engine by itself: fake steps over a dictionary that stands for the world."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from lib.engine.evidence import Evidence
from lib.engine.plan import PhaseResult, RunResult, StepResult
from lib.engine.planning import Options
from lib.engine.runlog import RunLog
from lib.engine.runner import Runner
from lib.engine.step import UNKNOWN, Change, Danger, Inputs, Step, Unknown
from lib.errors import LostAnswerError, Problem, StepError

World = dict[str, Any]


@dataclass
class Quiet:
    ended_: list[str] = field(default_factory=list)

    def began(self, step: str, verb: str) -> None: ...

    def ended(self, result: StepResult) -> None:
        self.ended_.append(result.name)

    def waiting(self, step: str, what: str, seconds: float, last: str) -> None: ...

    def stopping(self, steps: Sequence[str]) -> None:
        self.ended_.append(f"stopping after {', '.join(steps)}")


class First(Step[World, Any, str, str]):
    name = "first"
    needs: ClassVar[tuple[str, ...]] = ()
    want = "one"

    def observe(self, at: World, recent: bool) -> Any:
        at.setdefault("observed", []).append((self.name, recent))
        return at.get(self.name)

    def desired(self, inputs: Inputs) -> str | Unknown:
        return self.want

    def changes(self, seen: Any, wanted: str) -> Iterator[Change]:
        if seen != wanted:
            yield Change("value", seen, wanted)

    def apply(self, at: World, seen: Any, wanted: str) -> str | None:
        if at.get("broken") == self.name:
            raise StepError(self.name, "broke")
        if at.get("lost"):
            arrived = at["lost"].pop(0)
            if arrived:
                at[self.name] = wanted
            raise LostAnswerError(self.name, "the connection was cut")
        if at.get("deaf") != self.name:
            at[self.name] = wanted
        return None

    def output(self, seen: Any, wanted: str) -> str:
        return str(seen)

    def reason(self, seen: Any, wanted: str) -> str:
        return f"is {seen}"


class Second(First):
    name = "second"
    needs = ("first",)

    def desired(self, inputs: Inputs) -> str | Unknown:
        first = inputs.of(First)
        return UNKNOWN if isinstance(first, Unknown) else f"after {first}"


class Other(First):
    name = "other"


class Dangerous(First):
    name = "dangerous"

    def dangers(self, seen: Any, wanted: str) -> Iterator[Danger]:
        if seen is not None:
            yield Danger("destroy-it", f"{seen} would be destroyed")


class Fresh(First):
    name = "fresh"

    def changes(self, seen: Any, wanted: str) -> Iterator[Change]:
        yield Change("token", "old", "new", refresh=True)


class Slow(First):
    name = "slow"
    max_age = 3600.0


class Behind(Second):
    """Can be looked at only when what it needs is there."""

    name = "behind"

    def observe(self, at: World, recent: bool) -> Any:
        if "first" not in at:
            raise StepError(self.name, "cannot be seen yet")
        return super().observe(at, recent)


def run(steps: list[Any], world: World, tmp_path: Path, **options: Any) -> dict[str, StepResult]:
    evidence = Evidence(tmp_path / "state.json", "t")
    where = {step.name: evidence for step in steps}
    results = Runner(steps, world, Options(**options), where, "d", RunLog(None), Quiet()).run()
    return {result.name: result for result in results}


def test_output_flows_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    world: World = {}
    first = run([First(), Second()], world, tmp_path)
    assert [r.outcome for r in first.values()] == ["changed", "changed"]
    assert world["second"] == "after one"
    again = run([First(), Second()], world, tmp_path)
    assert [r.outcome for r in again.values()] == ["unchanged", "unchanged"]
    assert again["first"].reason == "is one"


def test_a_dry_run_plans_with_unknowns_and_writes_nothing(tmp_path: Path) -> None:
    world: World = {}
    planned = run([First(), Second()], world, tmp_path, dry_run=True)
    assert [r.outcome for r in planned.values()] == ["pending", "pending"]
    assert "first" in planned["second"].reason
    assert "first" not in world
    assert not (tmp_path / "state.json").exists()


def test_a_failed_step_blocks_what_needs_it_and_no_more(tmp_path: Path) -> None:
    world: World = {"broken": "first"}
    results = run([First(), Second(), Other()], world, tmp_path)
    assert {name: r.outcome for name, r in results.items()} == {
        "first": "failed",
        "second": "blocked",
        "other": "changed",
    }
    assert [name for name, _ in world["observed"]].count("second") == 1, "what is blocked is not looked at again"


def test_what_does_not_stick_is_a_failure(tmp_path: Path) -> None:
    results = run([First()], {"deaf": "first"}, tmp_path)
    assert results["first"].outcome == "failed"
    assert "not as desired after it was applied" in str(results["first"].error)


@pytest.mark.parametrize(
    ("lost", "outcome"),
    [([True], "changed"), ([False], "changed"), ([False, True], "failed"), ([False, False], "failed")],
)
def test_a_change_whose_answer_is_lost_is_looked_at_once_more(tmp_path: Path, lost: list[bool], outcome: str) -> None:
    world: World = {"lost": list(lost)}
    results = run([First(), Second()], world, tmp_path)
    assert results["first"].outcome == outcome
    if outcome == "changed":
        assert results["first"].changes == [Change("value", None, "one")]
        assert world["second"] == "after one"
    else:
        assert "the connection was cut" in str(results["first"].error)
        assert results["second"].outcome == "blocked"
    assert world["lost"] == []


def test_a_danger_refuses_the_whole_plan_until_it_is_allowed_by_name(tmp_path: Path) -> None:
    world: World = {"dangerous": "precious"}
    refused = run([Other(), Dangerous()], world, tmp_path)
    assert refused["dangerous"].outcome == "refused"
    assert "--allow destroy-it" in (refused["dangerous"].error or Problem("", "")).fix
    assert "other" not in world
    assert (
        run([Other(), Dangerous()], world, tmp_path, allow=frozenset({"something-else"}))["dangerous"].outcome
        == "refused"
    )
    assert (
        run([Other(), Dangerous()], world, tmp_path, allow=frozenset({"destroy-it"}))["dangerous"].outcome == "changed"
    )


def test_a_danger_without_an_override_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    class Forbidden(Dangerous):
        def dangers(self, seen: str | None, wanted: str) -> Iterator[Danger]:
            yield from super().dangers(seen, wanted)
            yield Danger("", "somebody is in it", "ask them to leave")

    refused = run([Other(), Forbidden()], {"dangerous": "precious"}, tmp_path, allow=frozenset({"destroy-it", ""}))
    problem = refused["dangerous"].error
    assert problem is not None
    assert (problem.problem, problem.fix) == ("refused: somebody is in it", "ask them to leave")


def test_a_problem_that_a_guard_found_refuses_the_whole_plan(tmp_path: Path) -> None:
    class Foreign(First):
        def problems(self, seen: str | None, wanted: str) -> Iterator[Problem]:
            yield Problem("first", "is somebody else's", "take another", refused=True)

    world: World = {}
    assert run([Foreign(), Other()], world, tmp_path)["first"].outcome == "refused"
    assert "other" not in world
    assert run([Foreign()], world, tmp_path, dry_run=True, guard=False)["first"].outcome == "failed"


def test_a_dry_run_is_refused_as_the_run_would_be_and_a_mere_look_is_not(tmp_path: Path) -> None:
    world: World = {"dangerous": "precious"}
    planned = run([Dangerous()], world, tmp_path, dry_run=True)["dangerous"]
    assert (planned.outcome, planned.changes) == ("refused", [Change("value", "precious", "one")])
    assert run([Dangerous()], world, tmp_path, dry_run=True, guard=False)["dangerous"].outcome == "pending"


def test_what_comes_after_a_promise_is_planned_before_it_is_kept(tmp_path: Path) -> None:
    class Promising(First):
        promises = True

        def output(self, seen: Any, wanted: str) -> str:
            return wanted

    planned = run([Promising(), Second()], {}, tmp_path, dry_run=True)
    assert planned["second"].changes == [Change("value", None, "after one")]
    assert run([Promising(), Second()], {"broken": "first"}, tmp_path)["second"].outcome == "blocked"


def test_history_says_when_each_step_was_last_made_so(tmp_path: Path) -> None:
    world: World = {}
    run([First()], world, tmp_path)
    told = run([First()], world, tmp_path, dry_run=True, history=True)["first"].reason
    assert re.fullmatch(r"is one; made so \d{4}-\d\d-\d\d \d\d:\d\d", told)


def test_a_problem_is_told_with_its_line(tmp_path: Path) -> None:
    class Wrong(First):
        def problems(self, seen: Any, wanted: str) -> Iterator[Problem]:
            yield Problem("a", "is wrong", "mend a", "key.a")
            yield Problem("b", "is wrong", "mend b", "key.b")

    def located(problem: Problem) -> Problem:
        return replace(problem, where=problem.where.replace("key.", "file:"))

    evidence = Evidence(tmp_path / "state.json", "t")
    [result] = Runner([Wrong()], {}, Options(), {"first": evidence}, "d", RunLog(None), Quiet(), located).run()
    assert result.error == Problem(
        "first", "2 problems\na: is wrong [file:a]\nb: is wrong [file:b]", "mend a\nmend b", "file:a"
    )


def test_a_refresh_counts_as_unchanged(tmp_path: Path) -> None:
    world: World = {"fresh": "one"}
    results = run([Fresh()], world, tmp_path)
    assert results["fresh"].outcome == "refreshed"
    assert RunResult("x", "lab", [PhaseResult("p", list(results.values()))]).outcome == "unchanged"
    assert run([Fresh()], world, tmp_path, dry_run=True)["fresh"].outcome == "unchanged"


def test_a_slow_check_is_relied_on_only_while_its_evidence_is_young(tmp_path: Path) -> None:
    world: World = {"slow": "one"}
    run([Slow()], world, tmp_path)
    relied = run([Slow()], world, tmp_path)
    assert world["observed"] == [("slow", False), ("slow", True)]
    assert "relies on" in relied["slow"].reason
    run([Slow()], world, tmp_path, deep=True)
    assert world["observed"][-1] == ("slow", False)
    state = json.loads((tmp_path / "state.json").read_text())
    state["steps"]["slow"]["checked"] -= 4000
    (tmp_path / "state.json").write_text(json.dumps(state))
    run([Slow()], world, tmp_path)
    assert world["observed"][-1] == ("slow", False)


def test_rerun_applies_where_nothing_differs(tmp_path: Path) -> None:
    world: World = {"first": "one"}
    assert run([First()], world, tmp_path, rerun=frozenset({"first"}))["first"].outcome == "changed"


def test_what_may_not_go_on_is_not_applied(tmp_path: Path) -> None:
    def stop() -> None:
        raise StepError("lock", "is no longer ours")

    world: World = {}
    evidence = dict.fromkeys(["first", "second"], Evidence(tmp_path / "state.json", "t"))
    runner = Runner([First(), Second()], world, Options(), evidence, "d", RunLog(None), Quiet())
    assert [result.outcome for result in runner.run(stop)] == ["failed", "blocked"]
    assert "first" not in world


def test_ctrl_c_lets_the_running_step_end_and_writes_down_what_was_done(tmp_path: Path) -> None:
    class Interrupted(First):
        def apply(self, at: World, seen: Any, wanted: str) -> str | None:
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # to this thread: the one that waits sleeps on
            while not at["progress"].ended_:
                threading.Event().wait(0.001)
            return super().apply(at, seen, wanted)

    progress = Quiet()
    world: World = {"progress": progress}
    evidence = dict.fromkeys(["first", "second"], Evidence(tmp_path / "state.json", "t"))
    runner = Runner([Interrupted(), Second()], world, Options(), evidence, "d", RunLog(None), progress)
    assert [result.outcome for result in runner.run()] == ["changed", "pending"]
    assert runner.stopped
    assert progress.ended_ == ["stopping after first", "first", "second"]
    assert "second" not in world
    assert list(json.loads((tmp_path / "state.json").read_text())["steps"]) == ["first"]


def test_independent_steps_are_applied_at_the_same_time(tmp_path: Path) -> None:
    meet = threading.Barrier(2, timeout=10)

    class Meets(First):
        def apply(self, at: World, seen: Any, wanted: str) -> str | None:
            meet.wait()
            return super().apply(at, seen, wanted)

    class A(Meets):
        name = "a"

    class B(Meets):
        name = "b"

    results = run([A(), B()], {}, tmp_path)
    assert {r.outcome for r in results.values()} == {"changed"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"version": 1, "ste', "not readable"),
        ('{"version": 99, "target": "t", "steps": {}}', "another version"),
        ("[]", "shape"),
        ('{"version": 1, "target": "t", "steps": {"first": []}}', "shape"),
        ('{"version": 1, "target": "t", "steps": {"first": {"finished": "x"}}}', "shape"),
        ("\xff\x00", "not readable"),
    ],
)
def test_a_corrupt_state_file_is_named_with_its_place_and_the_way_out(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "state.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(StepError) as caught:
        Evidence(tmp_path / "state.json", "t")
    assert told in str(caught.value)
    assert f"rm {tmp_path / 'state.json'}" in str(caught.value)
    assert "state.json:1" in str(caught.value)


def test_what_could_not_be_seen_is_looked_at_again_when_what_it_needs_is_there(tmp_path: Path) -> None:
    world: World = {}
    results = run([First(), Behind()], world, tmp_path)
    assert [r.outcome for r in results.values()] == ["changed", "changed"]
    assert world["behind"] == "after one"
    blind = run([First(), Behind()], {"broken": "first"}, tmp_path)
    assert [r.outcome for r in blind.values()] == ["failed", "failed"]


def test_what_is_only_checked_is_never_applied_and_told_where_it_differs(tmp_path: Path) -> None:
    world: World = {}
    results = run([First(), Second(), Other()], world, tmp_path, checked=frozenset({"first"}))
    assert [r.outcome for r in results.values()] == ["failed", "blocked", "changed"]
    assert "--only" in (results["first"].error or Problem("", "")).fix
    assert "first" not in world
    fine = run([Fresh()], {"fresh": "one"}, tmp_path, checked=frozenset({"fresh"}))
    assert fine["fresh"].outcome == "unchanged"


def test_what_is_only_needed_is_made_but_for_what_would_have_to_be_allowed(tmp_path: Path) -> None:
    world: World = {"dangerous": "precious"}
    results = run([First(), Dangerous()], world, tmp_path, needed=frozenset({"first", "dangerous"}))
    assert [r.outcome for r in results.values()] == ["changed", "unchanged"]
    assert "precious would be destroyed" in results["dangerous"].reason
    assert world["dangerous"] == "precious"
