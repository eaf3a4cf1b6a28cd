"""The command line as an administrator who has just what is needed, or one privilege less; and a role with less."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.facts.access import THROUGHOUT
from lib.lab.perverse import NEW_KEY
from lib.steps import rights
from tests.lab.simulated import CLUSTER
from tests.rehearsal.test_foundation import client, journal, outcomes, writes
from tests.rehearsal.test_real_target import configured

ADMIN = "ann@pve"


def become(checkout: Path, needs: rights.Needs) -> None:
    """Let `.env` name a separated token whose rights, as its user's, are those and no others."""
    pve = client(checkout)
    pve("POST", "/access/users", {"userid": ADMIN})
    slot = f"/access/users/{ADMIN}/token/all"
    token = pve("POST", slot)
    while token is None:  # a perverse lab has lost the one answer that has the secret in it
        pve("DELETE", slot)
        token = pve("POST", slot)
    for number, (path, privileges) in enumerate(needs.items()):
        where = rights.lasting(path)
        below = int(where != path or path in THROUGHOUT)
        pve("POST", "/access/roles", {"roleid": f"Needs{number}", "privs": ",".join(privileges)})
        to = {"users": ADMIN, "tokens": f"{ADMIN}!all", "propagate": str(below)}
        pve("PUT", "/access/acl", {"path": where, "roles": f"Needs{number}"} | to)
    lines = (checkout / ".env").read_text().splitlines()
    kept = [line for line in lines if not line.startswith("PROXMOX_ADMIN_")]
    (checkout / ".env").write_text("\n".join([*kept, f"PROXMOX_ADMIN_TOKEN={ADMIN}!all={token['value']}"]) + "\n")


@pytest.mark.parametrize("version", ["8.4", "9.2"])
def test_what_the_administrator_needs_suffices(
    version: str, checkout: Path, run: Callable[..., Any], environment: dict[str, str], tmp_path: Path
) -> None:
    configured(checkout, run, environment, tmp_path, version)
    become(checkout, rights.administrator(CLUSTER, backup="local"))
    cold = run("foundation", "--json")
    assert cold.returncode == 0, cold.stdout + cold.stderr
    pve = client(checkout)
    pve("PUT", "/nodes/node1/qemu/9002/config", {"memory": "4096", "ide3": "none,media=cdrom"})
    pve("PUT", "/access/roles/GroundworkPacker", {"privs": "VM.Audit"})
    mended = run("foundation", "--json")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert outcomes(mended)["base_template"] == outcomes(mended)["packer_user"] == "changed"
    anew = run("foundation", "--force-rebuild", "--allow", "destroy-base-template", "--backup", "local")
    assert anew.returncode == 0, anew.stdout + anew.stderr
    assert run("doctor", "--phases", "foundation").returncode == 0


def test_what_lacks_is_told_before_anything_is_changed(
    lab: Path, run: Callable[..., Any], environment: dict[str, str], tmp_path: Path
) -> None:
    configured(lab, run, environment, tmp_path)
    needs = dict(rights.administrator(CLUSTER))
    become(lab, needs | {"/access": needs["/access"] - {"Sys.Modify"}})
    before = len(journal(lab))
    failed = run("foundation")
    assert failed.returncode == 1
    told = " ".join(failed.stdout.split())
    assert f"administrator {ADMIN}!all: lacks Sys.Modify on /access" in told
    fix = f"pveum acl modify /access --users {ADMIN} --tokens '{ADMIN}!all' --roles Administrator"
    assert f"Fix: {fix}" in told
    assert told.count("lacks") == 1
    assert {line["path"] for line in writes(journal(lab)[before:])} == {"/pools", "/pools/groundwork-lock"}
    assert "lacks Sys.Modify on /access" in run("doctor", "--phases", "foundation").stdout


def test_the_doctor_names_what_a_role_of_ours_lacks(finished: Path, run: Callable[..., Any]) -> None:
    pve = client(finished)
    role = set(pve("GET", "/access/roles/GroundworkPacker")) - {NEW_KEY}
    pve("PUT", "/access/roles/GroundworkPacker", {"privs": ",".join(role - {"SDN.Use"})})
    failed = run("doctor", "--phases", "foundation")
    assert failed.returncode == 1
    told = " ".join(failed.stdout.split())
    assert "lacks SDN.Use on /sdn/zones/localnetwork/vmbr0" in told
    assert "Fix: pveum role modify GroundworkPacker --append 1 --privs SDN.Use" in told
    assert told.count("lacks") == 1
    assert run("foundation").returncode == 0  # a role of ours is mended
    assert run("doctor", "--phases", "foundation").returncode == 0
