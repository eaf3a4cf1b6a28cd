"""What a node says of its storages, the volumes on them and its backups.

Read in src/PVE/Storage.pm, src/PVE/Storage/{Plugin,DirPlugin}.pm, src/PVE/API2/Storage/{Status,Content,PruneBackups}.pm
(pve-storage), PVE/API2/{VZDump,Backup}.pm and PVE/VZDump.pm (pve-manager).
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.host import NODE, Host

HERE = f"{NODE}/storage"


@pytest.fixture
def host() -> Host:
    return Host()


def names(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(row["storage"] for row in rows)


def test_a_storage_that_the_node_does_not_use_is_listed_as_not_enabled(host: Host) -> None:
    for name, more in (("away", {"nodes": "other"}), ("off", {"disable": 1})):
        host.data("POST", "/storage", storage=name, type="dir", path=f"/{name}", content="images", **more)
    rows = {row["storage"]: row for row in host.data("GET", HERE)}
    assert {name: (row["enabled"], row["active"], row["total"] > 0) for name, row in rows.items()} == {
        "away": (0, 0, False), "off": (0, 0, False), "local": (1, 1, True),
    }  # fmt: skip
    assert names(host.data("GET", HERE, enabled=1)) == ["away", "local"]
    assert names(host.data("GET", HERE, content="images")) == ["local"]
    assert host.data("GET", f"{HERE}/away/status")["enabled"] == 0


def test_a_storage_that_is_not_among_those_asked_for_is_none(host: Host) -> None:
    missing = {"storage": "No such storage."}
    assert host.refused("GET", f"{HERE}/nosuch/status") == missing
    assert host.refused("GET", HERE, storage="nosuch") == missing
    assert host.refused("GET", HERE, storage="local", content="backup") == missing
    assert names(host.data("GET", HERE, storage="local", content="iso")) == ["local"]


def test_for_a_move_to_another_node_shared_storages_are_listed(host: Host) -> None:
    for name, more in (("both", {"nodes": "pve,other"}), ("here", {"nodes": "pve"})):
        host.data("POST", "/storage", storage=name, type="dir", path=f"/{name}", content="images", shared=1, **more)
    assert names(host.data("GET", HERE, target="other")) == ["both"]
    assert names(host.data("GET", HERE, target="pve")) == ["both", "here", "local"]


@pytest.mark.parametrize("pve", ["8.4", "9.2"])
def test_the_formats_of_a_storage(pve: str) -> None:
    host = Host(pve)
    (row,) = host.data("GET", HERE, format=1)
    assert row["format"] == [{"qcow2": 1, "raw": 1, "subvol": 1, "vmdk": 1}, "raw"]
    assert ("formats" in row) == (pve == "9.2")
    assert "format" not in host.data("GET", HERE)[0]
    below = [each["subdir"] for each in host.data("GET", f"{HERE}/local")]
    assert "import-metadata" in below
    assert ("oci-registry-pull" in below) == (pve == "9.2")
