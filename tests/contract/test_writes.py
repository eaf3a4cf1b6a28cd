"""Every request that the product sends, against the official schema of the version that it is sent to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lib.lab.programs.proxmox import request_of
from lib.lab.programs.proxmox_commands import TABLES
from tests.contract.official import problems, route
from tests.contract.recordings import schema
from tests.rehearsal.test_foundation import client, journal

Request = tuple[str, str, dict[str, str]]
GUEST = "/nodes/{node}/qemu/{vmid}"
TOKEN = "/access/users/{userid}/token/{tokenid}"
# What the runs below make the product write: each of it is meant to be here.
WRITTEN = {
    ("POST", "/pools"),
    ("PUT", "/pools"),
    ("DELETE", "/pools/{poolid}"),
    ("POST", "/access/roles"),
    ("PUT", "/access/roles/{roleid}"),
    ("POST", "/access/users"),
    ("PUT", "/access/users/{userid}"),
    ("PUT", "/access/acl"),
    ("POST", TOKEN),
    ("PUT", TOKEN),
    ("DELETE", TOKEN),
    ("POST", "/storage"),
    ("PUT", "/storage/{storage}"),
    ("POST", "/nodes/{node}/storage/{storage}/download-url"),
    ("POST", "/nodes/{node}/qemu"),
    ("PUT", f"{GUEST}/config"),
    ("PUT", f"{GUEST}/resize"),
    ("POST", f"{GUEST}/template"),
    ("DELETE", GUEST),
    ("POST", "/nodes/{node}/vzdump"),
}


def sent(checkout: Path) -> list[Request]:
    """Return what the product asked: over HTTPS as one of its tokens, and over SSH."""
    found: list[Request] = []
    programs = set()
    for line in journal(checkout):
        if line["kind"] == "api" and "!" in line["user"]:
            found.append((line["method"], line["path"], line["params"]))
        if line["kind"] != "ssh":
            continue
        argv = line["argv"][4:] if line["argv"][0] == "timeout" else line["argv"]
        if argv[0] in (*TABLES, "pvesh"):
            request = request_of(argv, "node1")
            assert request is not None, line
            found.append(request)
            programs.add(argv[0])
    assert programs == {"pvesh", "pveum"}
    return found


def drift(checkout: Path) -> None:
    """Change from outside whatever the product mends in place."""
    pve = client(checkout)
    guest = "/nodes/node1/qemu/9002"
    pve("PUT", f"{guest}/config", {"memory": "4096", "net0": "virtio", "scsi1": "rbd:1", "delete": "agent,serial0"})
    pve("PUT", "/pools", {"poolid": "groundwork", "vms": "9002", "delete": "1"})
    pve("PUT", "/access/roles/GroundworkPacker", {"privs": "VM.Audit"})
    pve("PUT", "/access/acl", {"path": "/nodes", "roles": "GroundworkPacker", "users": "packer@pve", "delete": "1"})
    pve("PUT", "/access/users/packer@pve", {"enable": "0"})
    pve("PUT", "/access/users/packer@pve/token/build-a", {"privsep": "0"})
    pve("PUT", "/storage/rbd-iso", {"content": "iso"})


@pytest.mark.parametrize("version", ["8.4", "9.2"])
def test_every_request_is_one_that_the_schema_knows(version: str, checkout: Path, run: Callable[..., Any]) -> None:
    paths = schema(version)

    def ended_well(*words: str) -> None:
        result = run(*words)
        assert result.returncode == 0, result.stdout + result.stderr

    ended_well("lab.start", "--task-seconds", "0", "--pve", version)
    ended_well("plan")  # reads over SSH: there is no token yet
    ended_well("foundation")
    drift(checkout)
    kept = checkout / ".lab" / ".groundwork" / "admin-token.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"expire": 0}))  # another one is made over SSH
    ended_well("foundation")
    ended_well("foundation", "--force-rebuild", "--allow", "destroy-base-template", "--backup", "local")
    ended_well("doctor")

    requests = sent(checkout)
    told = sorted({problem for request in requests for problem in problems(paths, *request)})
    assert not told, "\n".join(told)
    written = {(method, (route(paths, method, path) or ("", {}))[0]) for method, path, _ in requests if method != "GET"}
    assert written == WRITTEN


@pytest.mark.parametrize(
    ("method", "path", "params", "told"),
    [
        ("POST", "/nosuch", {}, "there is no such path"),
        ("PATCH", "/pools", {"poolid": "p"}, "there is no such path"),
        ("POST", "/pools", {}, "poolid is missing"),
        ("POST", "/pools", {"poolid": "p", "nosuch": "1"}, "unknown parameter nosuch"),
        ("POST", "/pools", {"poolid": "a b"}, "poolid=a b: 'a b' is no pve-poolid"),
        ("PUT", "/pools", {"poolid": "p", "vms": "100,x"}, "vms=100,x: 'x' is no pve-vmid"),
        ("POST", "/access/roles", {"roleid": "R", "privs": "VM.Monitor"}, "'VM.Monitor' is no pve-priv"),
        ("PUT", "/access/roles/R", {"append": "1"}, "append requires privs"),
        ("POST", "/access/users/u@pve/token/t1", {"expire": "-1"}, "expire=-1: is out of range"),
        ("POST", "/access/users/u@pve/token/t1", {"privsep": "True"}, "privsep=True: is no boolean"),
        ("POST", "/access/users/u@pve/token/1", {}, "tokenid=1: does not fit the pattern"),
        ("POST", "/nodes/n/qemu", {"vmid": "9002", "cores": "2.0"}, "cores=2.0: is no integer"),
        ("POST", "/nodes/n/qemu", {"vmid": "9002", "net0": "bridge=vmbr0"}, "model is missing"),
        ("POST", "/nodes/n/qemu", {"vmid": "9002", "net0": "virtio=aa:bb:cc:dd:ee"}, "is no mac-addr"),
        ("POST", "/nodes/n/qemu", {"vmid": "9002", "scsi0": "rbd:1,iothread=yes"}, "iothread=yes: is no boolean"),
        ("POST", "/nodes/n/qemu", {"vmid": "9002", "efidisk0": "rbd:1,efitype=8m"}, "is not one of the words"),
        ("POST", "/nodes/n/qemu", {"vmid": "9002", "agent": "enabled=1,nosuch=1"}, "unknown parameter nosuch"),
        ("POST", "/nodes/n/qemu", {"vmid": "9002", "boot": "c"}, "'c' is no pve-qm-boot"),
        ("PUT", "/nodes/n/qemu/9002/resize", {"disk": "scsi0", "size": "10GB"}, "does not fit the pattern"),
    ],
)
def test_what_is_wrong_is_seen(method: str, path: str, params: dict[str, str], told: str) -> None:
    found = list(problems(schema("9.2"), method, path, params))
    assert len(found) == 1
    assert told in found[0]


def test_the_versions_differ() -> None:
    renew = ("PUT", "/access/users/u@pve/token/t1", {"regenerate": "1"})
    assert [bool(list(problems(schema(version), *renew))) for version in ("8.4", "9.2")] == [True, False]
    monitor = ("POST", "/access/roles", {"roleid": "R", "privs": "VM.Monitor"})
    assert [bool(list(problems(schema(version), *monitor))) for version in ("8.4", "9.2")] == [False, True]
