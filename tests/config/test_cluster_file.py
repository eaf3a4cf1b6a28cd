"""cluster.toml: a file for every rule, each refused with its line; and files that are right."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.cluster import load_cluster
from lib.config.lines import line_of
from lib.config.model import Machines, expand
from lib.errors import ConfigurationError

HERE = Path(__file__).parent.parent / "configs"
SAMPLE = Path(__file__).parent.parent.parent / "cluster.toml"
INVALID = sorted((HERE / "invalid").glob("*.toml"))


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_every_rule_is_refused_at_its_line(path: Path, tmp_path: Path) -> None:
    expected = path.read_text().splitlines()[0].removeprefix("# expect: ")
    subject, rest = expected.split(": ", 1)
    problem, where = rest.rsplit(" [", 1)
    copy = tmp_path / "cluster.toml"
    copy.write_text(path.read_text())
    with pytest.raises(ConfigurationError) as caught:
        load_cluster(copy)
    found = [(p.subject, p.where) for p in caught.value.problems if p.problem.startswith(problem)]
    assert (subject, where.rstrip("]")) in found, str(caught.value)
    assert caught.value.exit_code == 2


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    for old, new in (("count = 3", "count = 2"), ("vmid = 9001", "vmid = 9999"), ("10.10.1.53", "10.10.1.153")):
        text = text.replace(old, new)
    (tmp_path / "cluster.toml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_cluster(tmp_path / "cluster.toml")
    assert len(caught.value.problems) == 3


def test_the_command_ends_with_2_and_no_traceback(checkout: Path, run: Any) -> None:
    (checkout / "cluster.toml").write_text((HERE / "invalid" / "unknown-key.toml").read_text())
    for words in (("foundation",), ("plan", "--json")):
        result = run(*words)
        assert result.returncode == 2
        assert "cluster.toml:7" in result.stderr
        assert "did you mean bridge?" in result.stderr
        assert "Traceback" not in result.stderr
    assert not (checkout / ".lab").exists()


def test_machines_written_out_take_their_group_sizes(tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    begin, end = text.index("[workers]"), text.index("[kubernetes]")
    text = (
        text[:begin]
        + """[workers]
cores = 6
memory_gib = 24
disk_gib = 128
[[workers.machines]]
name = "big"
vmid = 140
address = "10.10.1.40"
host = "node2"
memory_gib = 64

"""
        + text[end:]
    )
    (tmp_path / "cluster.toml").write_text(text)
    big = load_cluster(tmp_path / "cluster.toml").guests()[-1]
    assert (big.name, big.cores, big.memory_gib, big.host) == ("big", 6, 64, "node2")


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 40), st.integers(100, 10_000))
def test_counted_machines_count_on(count: int, first: int) -> None:
    group = Machines(
        cores=1, memory_gib=1, disk_gib=1, count=count, name="w-{n}", first_vmid=first, first_address="10.0.0.1"
    )
    machines = expand(group)
    assert [m.vmid for m in machines] == list(range(first, first + count))
    assert len({m.name for m in machines}) == len({m.address for m in machines}) == count


KEY = st.text("abcxyz", min_size=1, max_size=4)


VALUE = st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=3)


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(KEY, st.dictionaries(KEY, VALUE, max_size=4), min_size=1, max_size=4))
def test_a_key_stands_on_the_line_that_is_found(tables: dict[str, dict[str, Any]]) -> None:
    lines: list[str] = []
    expected = {}
    for table, keys in tables.items():
        lines += ["", "# about it", f"[{table}]"]
        for key, value in keys.items():
            expected[table, key] = len(lines) + 1
            # lists are spread over lines, as people write them
            lines += (
                [f"{key} = ["] + [f"  {item}," for item in value] + ["]"]
                if isinstance(value, list)
                else [f"{key} = {value}"]
            )
    text = "\n".join(lines)
    tomllib.loads(text)
    for path, number in expected.items():
        assert line_of(text, path) == number
