"""The pages say what the code does: links, commands and flags, exit codes, keys of .env, the schema's example."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest
from invoke import Collection

from lib import errors
from lib.config import schema
from lib.config.environment import KEYS

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "run.schema.json").read_text())
LINE = re.compile(r"(?:^|[`\s/(])invoke ((?:-{1,2}[a-z-]+ )*)([a-z][a-z-]*(?:\.[a-z-]+)?)((?: [^\s`|#)]+)*)")


@pytest.fixture(scope="module")
def tasks() -> Collection:
    from tasks import ns

    return ns


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_exist_with_their_flags(page: Path, tasks: Collection) -> None:
    text = page.read_text()
    code = "\n".join(re.findall(r"`([^`\n]+)`", text) + re.findall(r"^(?:\S*/)?invoke .*$", text, re.MULTILINE))
    for _, name, rest in LINE.findall(code):
        assert name in {*tasks.task_names, *(alias for more in tasks.task_names.values() for alias in more)}, name
        names = [name for argument in tasks[name].get_arguments() for name in argument.names]
        known = {f"--{name.replace('_', '-')}" for name in names}
        for flag in re.findall(r"(?<!\S)--[a-z-]+", rest):
            assert flag in known, f"invoke {name} {flag}"


def test_exit_codes_are_those_of_the_code() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", (ROOT / "docs/exit-codes.md").read_text(), re.MULTILINE)}
    assert told == {value for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}


@pytest.mark.parametrize("page", ["docs/real-hosts.md", ".env.example"])
def test_every_key_of_env_is_told(page: str) -> None:
    told = set(re.findall(r"\b(?:PROXMOX|GROUNDWORK)_[A-Z_]+", (ROOT / page).read_text()))
    assert told == set(KEYS)


def test_the_example_document_fits_the_schema() -> None:
    example = re.search(r"```json\n(.+?)```", (ROOT / "docs/json.md").read_text(), re.DOTALL)
    assert example is not None
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(example[1]))


def test_a_document_without_outcome_does_not_fit_the_schema() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate({"schema": 1, "command": "foundation", "target": "lab"})


def test_readme_has_two_lines_of_set_up_and_ci_runs_one() -> None:
    lines = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert [line.rsplit("&& ", 1)[1] for line in lines] == [".venv/bin/invoke foundation", ".venv/bin/nox -s test"]
    assert all("--require-hashes" in line for line in lines)


def test_external_tools_are_pinned_exactly() -> None:
    pins = tomllib.loads((ROOT / "mise.toml").read_text())["tools"]
    assert set(pins) == {"helm", "kubectl", "opentofu", "packer"}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pins.values())


def test_every_flag_of_foundation_is_told(tasks: Collection) -> None:
    table = "\n".join(re.findall(r"^\| `--.*$", (ROOT / "docs/foundation.md").read_text(), re.MULTILINE))
    told = set(re.findall(r"--[a-z-]+", table)) - {"--dry"}
    has = {f"--{name.replace('_', '-')}" for one in tasks["foundation"].get_arguments() for name in one.names}
    assert {flag for flag in has if len(flag) > 3} == told


def test_the_schema_of_cluster_toml_is_fresh_and_fits() -> None:
    written = (ROOT / schema.PATH).read_text()
    assert written == schema.text(), "stale: run `python -m lib.config.schema`"
    validator = jsonschema.Draft202012Validator(json.loads(written))
    sample = tomllib.loads((ROOT / "cluster.toml").read_text())
    validator.validate(sample)
    sample["proxmox"]["brigde"] = "vmbr0"
    assert not validator.is_valid(sample)
