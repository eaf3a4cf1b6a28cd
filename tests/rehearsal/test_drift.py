"""What somebody changed by hand: seen by `invoke drift`, and mended in place by the next `invoke foundation`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.lab.perverse import NEW_KEY
from tests.rehearsal.test_foundation import client, document, on_host
from tests.rehearsal.test_refusals import edit

CONFIG = "/nodes/node1/qemu/9002/config"


def told(result: Any, step: str) -> list[str]:
    """Return the attributes that one step of the foundation would change."""
    steps = {one["name"]: one for one in document(result)["phases"][0]["steps"]}
    return [change["attribute"] for change in steps[step]["changes"]]


def test_a_template_is_mended_in_place(finished: Path, run: Callable[..., Any]) -> None:
    pve = client(finished)
    before = pve("GET", CONFIG)
    efi = f"{before['efidisk0'].partition(',')[0]},pre-enrolled-keys=1,efitype=2m"
    pve("PUT", CONFIG, {"machine": "pc", "bios": "seabios", "scsihw": "lsi", "delete": "ide2", "efidisk0": efi})
    found = set(told(run("drift", "--json"), "base_template"))
    assert found == {"machine", "bios", "scsihw", "cloud-init drive", "EFI disk options"}
    mended = run("foundation")
    assert mended.returncode == 0, mended.stdout
    apart = {"digest": "", NEW_KEY: ""}
    assert pve("GET", CONFIG) | apart == before | apart


def test_a_template_that_lost_its_disks_needs_a_new_guest_for_them_alone(
    finished: Path, run: Callable[..., Any]
) -> None:
    client(finished)("PUT", CONFIG, {"delete": "efidisk0,scsi0"})
    assert told(run("drift", "--json"), "base_template") == ["system disk", "EFI disk", "boot"]


def test_a_host_gets_back_its_packages_and_the_image_that_was_unmapped(finished: Path, run: Callable[..., Any]) -> None:
    host = on_host(finished, run)
    host("umount", "/mnt/rbd-iso")
    host("rbd", "unmap", "rbd/rbd-iso")
    host("apt-get", "remove", "-y", "libguestfs-tools")
    found = told(run("drift", "--json"), "tools_storage")
    assert found == ["package libguestfs-tools", "mount"]
    mended = run("foundation")
    assert mended.returncode == 0, mended.stdout
    assert "/mnt/rbd-iso" in host("findmnt", "--mountpoint", "/mnt/rbd-iso")


def test_a_storage_that_lost_its_settings_gets_them_back(finished: Path, run: Callable[..., Any]) -> None:
    pve = client(finished)
    pve("PUT", "/storage/rbd-iso", {"delete": "nodes,is_mountpoint"})
    assert set(told(run("drift", "--json"), "tools_storage")) == {"storage nodes", "storage is_mountpoint"}
    mended = run("foundation")
    assert mended.returncode == 0, mended.stdout
    after = pve("GET", "/storage/rbd-iso")
    assert (after["nodes"], after["is_mountpoint"]) == ("node1", "yes")


def test_a_token_that_was_opened_is_closed_again_and_stays_the_same(finished: Path, run: Callable[..., Any]) -> None:
    pve = client(finished)
    edit(finished, r'^token_refresh = "always"', 'token_refresh = "when-invalid"')
    pve("PUT", "/access/users/packer@pve/token/build-a", {"privsep": "0", "expire": "0"})
    found = told(run("drift", "--json"), "packer_user")
    assert found == ["token build-a privsep", "token build-a expire"]
    mended = run("foundation")
    assert mended.returncode == 0, mended.stdout
    (token,) = pve("GET", "/access/users/packer@pve/token")
    assert (token["tokenid"], token["privsep"]) == ("build-a", 1)
    assert token["expire"] > time.time() + 29 * 86400
