"""cluster.toml: a file for every rule, each refused with its line; and files that are right."""

from __future__ import annotations

import ast
import inspect
import json
import random
import re
import tempfile
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config import addresses, reading, rules, schema, shape
from lib.config.cluster import load_cluster
from lib.config.model import Machines, expand
from lib.errors import ConfigurationError, Problem
from lib.steps.cloud_image import CloudImage
from lib.steps.validation import Validation

ROOT = Path(__file__).parent.parent.parent
HERE = ROOT / "tests" / "configs"
SAMPLE = ROOT / "cluster.toml"
SCHEMA = json.loads((ROOT / schema.PATH).read_text())
INVALID = sorted((HERE / "invalid").glob("*.toml"))
VALID = sorted((HERE / "valid").glob("*.toml"))


def expected(path: Path) -> list[str]:
    """Return what a file says of itself in its first lines: the problems in order, each with its line."""
    return re.findall(r"^# expect: (.*)$", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_every_rule_is_refused_at_its_line_and_nothing_else_is(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "cluster.toml"
    copy.write_text(path.read_text())
    with pytest.raises(ConfigurationError) as caught:
        load_cluster(copy)
    told = [f"{p.subject}: {p.problem.split(' (')[0]} [{p.where}]" for p in caught.value.problems]
    assert told == expected(path), str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("room", [addresses, reading, rules, shape], ids=lambda room: room.__name__)
def test_there_is_a_file_for_every_complaint_in_the_code(room: ModuleType) -> None:
    """What a rule says begins as below; each such text has to be met by a file of tests/configs/invalid."""
    met = "\n".join(line for path in INVALID for line in expected(path))
    heads = set()
    for node in ast.walk(ast.parse(inspect.getsource(room))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            heads |= set(re.findall(r"^(?:is|has|ends|names|makes|starts|overlaps) [^(]*[^( ]", node.value))
    assert heads
    assert [head for head in sorted(heads) if head not in met] == []


@pytest.mark.parametrize("path", [SAMPLE, *VALID], ids=lambda path: path.stem)
def test_what_is_right_is_taken(path: Path) -> None:
    assert load_cluster(path).proxmox.hosts
    jsonschema.Draft202012Validator(SCHEMA).validate(tomllib.loads(path.read_text()))


def test_written_and_counted_guests_stand_side_by_side() -> None:
    guests = {guest.name: guest for guest in load_cluster(HERE / "valid" / "written-out.toml").guests()}
    assert list(guests) == ["etcd-a", "gpu", "db", "w1", "w2"]
    gpu, db, second = guests["gpu"], guests["db"], guests["w2"]
    assert (gpu.cores, gpu.memory_gib, gpu.disk_gib, gpu.host) == (32, 256, 128, "node4")
    assert (db.cores, db.disk_gib, db.host) == (6, 2048, "")
    assert (second.vmid, second.address, second.disk_gib) == (311, "10.10.1.41", 128)


@pytest.mark.parametrize("name", ["unknown-key", "wrong-type", "missing-key", "size-out-of-range", "no-sha256"])
def test_the_schema_refuses_what_an_editor_can_see(name: str) -> None:
    document = tomllib.loads((HERE / "invalid" / f"{name}.toml").read_text())
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def test_every_key_of_the_sample_is_explained_in_it() -> None:
    """By a comment on its line, which editors show; where a table is there many times, by one before the first."""
    by_table = ("Host.", "Machine.", "Service.", "CloudImage.")
    silent = [
        f"{name}.{key}"
        for name, model in SCHEMA["$defs"].items()
        for key, about in model["properties"].items()
        if "description" not in about and "$ref" not in str(about)
    ]
    assert [key for key in silent if not key.startswith(by_table)] == []


def test_a_file_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_cluster(tmp_path / "cluster.toml")
    (tmp_path / "cluster.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_cluster(tmp_path / "cluster.toml")


def refused(path: Path) -> list[Problem] | None:
    try:
        load_cluster(path)
    except ConfigurationError as error:
        return error.problems
    return None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "proxmox: is missing"),
        (b"\0" * 64, "is no valid TOML"),
        (b"x = " + b"[" * 5000, "is no valid TOML: it is nested too deeply"),
        (b"[" + b"a." * 3000 + b"a]", "a: is no known key"),
        (b'x = """' + b"y\n" * 30000, "is no valid TOML"),
        (SAMPLE.read_bytes() + b"".join(b"k%d = 1\n" % number for number in range(2000)), "k1999: is no known key"),
    ],
    ids=["empty", "zeros", "deep", "long", "open", "huge"],
)
def test_a_file_that_is_nothing_like_one(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=told):
        load_cluster(path)


@pytest.mark.parametrize("ends", [("\ufeff", "\n"), ("", "\r\n")])
def test_what_editors_leave_in_a_file_changes_nothing(ends: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_bytes((ends[0] + SAMPLE.read_text().replace("\n", ends[1])).encode())
    assert load_cluster(path) == load_cluster(SAMPLE)


LINES = SAMPLE.read_text().splitlines()
SET = [number for number, line in enumerate(LINES) if re.match(r"[a-z_0-9]+ = ", line)]
VALUES = ["-1", "0", "9999", "1e3", "true", '""', '"10.10.1.41"', '"10.10.1.0/24"', '"a-b"', "[]", "[1]", "{}", '"é"']
VALUES += ["nan", "9223372036854775808", "1979-05-27", '"::1"', '"fd00::/64"', '"10.10.1.0/31"', '"255.255.255.255"']
VALUES += [
    '"https://[x/y"',
    '"\\u0000"',
    '"/a/../b"',
    '"²"',
    '"{n}"',
    "[[]]",
    '[{name = "x"}]',
    "{a = {b = 1}}",
    "9990",
]
values = st.tuples(st.sampled_from(SET), st.sampled_from([*VALUES, None]))
characters = st.tuples(st.integers(0, len(LINES) - 1), st.sampled_from([*"\"[]{}=.#'\\é\t,", "[[", "\n"]))


@settings(max_examples=120, deadline=None)
@given(st.lists(values, max_size=4), st.lists(characters, max_size=2), st.randoms(use_true_random=False))
def test_whatever_is_written_there_is_no_traceback(
    changes: list[tuple[int, str | None]], strays: list[tuple[int, str]], chance: random.Random
) -> None:
    lines = list(LINES)
    for number, value in changes:
        lines[number] = "" if value is None else f"{LINES[number].split(' = ')[0]} = {value}"
    for number, stray in strays:
        at = chance.randint(0, len(lines[number]))
        lines[number] = lines[number][:at] + stray + lines[number][at:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cluster.toml"
        path.write_text("\n".join(lines))
        problems = refused(path)
        if problems is None:  # what is taken can be worked with
            Validation(load_cluster(path))
            CloudImage(load_cluster(path), path.parent)
        assert problems is None or problems
        assert all(re.fullmatch(r"cluster\.toml:\d+", problem.where) for problem in problems or ())


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
