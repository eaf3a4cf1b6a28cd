"""What `--json` prints fits the published schema, whatever becomes of the run, and nothing else is on stdout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

from tests.conftest import Run

SCHEMA = Path(__file__).resolve().parent.parent.parent / "docs" / "schemas" / "run.schema.json"


def fits(printed: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(printed)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)
    return document


def test_every_document_fits_the_schema(lab: Path, run: Run) -> None:
    assert fits(run("plan", "--json").stdout)["outcome"] == "pending"
    run("lab.fault", "exit", "--match", "virt-customize")
    failed = fits(run("foundation", "--json").stdout)
    assert failed["outcome"] == "failed"
    steps = {step["name"]: step for step in failed["phases"][0]["steps"]}
    assert steps["cloud_image"]["error"]["problem"]
    assert steps["base_template"]["outcome"] == "blocked"
    assert fits(run("foundation", "--json").stdout)["outcome"] == "changed"
    assert fits(run("foundation", "--json", "--force-rebuild").stdout)["outcome"] == "refused"
    assert fits(run("dns", "--json").stdout)["outcome"] == "changed"
    assert fits(run("status", "--json").stdout)["outcome"] == "unchanged"
    for words, subject in (
        (("--timeout", "abc"), "--timeout"),
        (("--timeout", "4", "foundation", "--timeout", "5"), "--timeout"),
        (("--rerun", "nosuch"), "--rerun"),
        (("--allow", "nosuch"), "--allow"),
    ):
        wrong = run("foundation", "--json", *words)
        assert (wrong.returncode, fits(wrong.stdout)["error"]["subject"]) == (2, subject)
    assert fits(run("dns", "--json", "--timeout", "0").stdout)["command"] == "dns"  # as where nothing is wrong
    both = run("plan", "--json", "--markdown")
    assert (both.returncode, fits(both.stdout)["error"]["subject"]) == (2, "--markdown")
    unknown = run("doctor", "--json", "--phases", "dns,nosuch")
    assert (unknown.returncode, fits(unknown.stdout)["error"]["subject"]) == (2, "--phases")
    path = lab / "cluster.toml"
    path.write_text(path.read_text().replace('bridge = "vmbr0"', 'bridge = "vmbr9"'))
    step = fits(run("plan", "--json").stdout)["phases"][0]["steps"][0]
    assert (step["name"], step["error"]["where"]) == ("validation", "cluster.toml:6")
    path.write_text("[proxmox]\nbridge = 1\n")
    begun = run("foundation", "--json")
    assert begun.returncode == 2
    errors = fits(begun.stdout)["errors"]
    assert len(errors) > 5
    assert "cluster.toml:2" in {error["where"] for error in errors}
