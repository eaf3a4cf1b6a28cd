"""proxmoxer judges the lab by what its documentation shows: nodes, guests, tasks, files, tokens, and pvesh over SSH."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from proxmoxer import ProxmoxAPI, ResourceException
from proxmoxer.core import AuthenticationError
from proxmoxer.tools import Tasks

from tests.judges.joined import Joined


def connect(lab: Joined, **credentials: Any) -> ProxmoxAPI:
    host = urlsplit(lab.variables["PROXMOX_URL"]).netloc
    return ProxmoxAPI(host, verify_ssl=lab.variables["REQUESTS_CA_BUNDLE"], **credentials)


@pytest.fixture(scope="module")
def proxmox(lab: Joined) -> Iterator[ProxmoxAPI]:
    api = connect(lab, user=lab.variables["PROXMOX_USERNAME"], password=lab.variables["PROXMOX_PASSWORD"])
    yield api
    api._store["session"].close()


def done(proxmox: ProxmoxAPI, upid: str) -> str:
    return str(Tasks.blocking_status(proxmox, upid, timeout=10, polling_interval=0.01)["exitstatus"])


def test_guests_are_created_listed_and_destroyed(proxmox: ProxmoxAPI) -> None:
    node = proxmox.nodes("node1")
    upid = node.qemu.create(vmid=202, name="judged", memory=512, cores=1, net0="virtio,bridge=vmbr0", scsi0="rbd:4")
    assert done(proxmox, upid) == "OK"
    assert done(proxmox, node.qemu(202).status.start.post()) == "OK"
    listed = {
        vm["vmid"]: f"{vm['name']} => {vm['status']}"
        for node in proxmox.nodes.get()
        for vm in proxmox.nodes(node["node"]).qemu.get()
    }
    assert listed == {202: "judged => running"}
    assert [vm["vmid"] for vm in proxmox.cluster.resources.get(type="vm")] == [202]
    node.qemu(202).config.put(description="of two\nlines", tags="b;a")
    assert node.qemu(202).config.get()["description"] == "of two\nlines"
    assert done(proxmox, node.qemu(202).status.stop.post()) == "OK"
    assert done(proxmox, node.qemu(202).delete()) == "OK"
    assert proxmox.get("cluster/resources", type="vm") == []


def test_a_task_is_read_by_its_id(proxmox: ProxmoxAPI) -> None:
    upid = proxmox.nodes("node2").qemu.create(vmid=203)
    told = Tasks.decode_upid(upid)
    assert (told["node"], told["type"], told["id"], told["user"]) == ("node2", "qmcreate", "203", "root@pam")
    assert done(proxmox, upid) == "OK"
    log = proxmox.nodes("node2").tasks(upid).log.get()
    assert Tasks.decode_log(log).endswith("TASK OK")
    assert proxmox.nodes("node2").tasks.get(limit=1)[0]["upid"] == upid


def test_files_are_uploaded(proxmox: ProxmoxAPI, tmp_path: Path) -> None:
    path = tmp_path / "judged.iso"
    path.write_bytes(b"\0" * 4096)
    storage = proxmox.nodes("node1").storage("local")
    with path.open("rb") as file:
        assert done(proxmox, storage.upload.create(content="iso", filename=file)) == "OK"
    assert [each["volid"] for each in storage.content.get(content="iso")] == ["local:iso/judged.iso"]


def test_a_token_logs_in_by_itself(lab: Joined, proxmox: ProxmoxAPI) -> None:
    proxmox.access.users.create(userid="judge@pve")
    value = proxmox.access.users("judge@pve").token("one").create(privsep=0)["value"]
    token = connect(lab, user="judge@pve", token_name="one", token_value=value)
    try:
        assert token.version.get()["release"] == "9.2"
        with pytest.raises(ResourceException) as refused:
            token.nodes("node1").dns.get()
        assert refused.value.status_code == 403
        assert refused.value.content == "Permission check failed (/nodes/node1, Sys.Audit)"
        proxmox.access.acl.put(path="/nodes", roles="PVEAuditor", users="judge@pve")
        assert "dns1" in token.nodes("node1").dns.get()
    finally:
        token._store["session"].close()


def test_a_wrong_password_and_a_wrong_parameter_are_told(lab: Joined, proxmox: ProxmoxAPI) -> None:
    with pytest.raises(AuthenticationError):
        connect(lab, user="root@pam", password="wrong")
    with pytest.raises(ResourceException) as refused:
        proxmox.nodes("node1").qemu.create(vmid=204, memory="much")
    assert refused.value.status_code == 400
    assert set(refused.value.errors) == {"memory"}


def test_pvesh_answers_over_ssh(lab: Joined, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "paramiko")
    key = str(lab.checkout / ".lab" / "ssh_key")
    over = ProxmoxAPI("127.0.0.1", user="root", port=lab.ports[0], private_key_file=key, backend="ssh_paramiko")
    try:
        assert [node["node"] for node in over.nodes.get()] == lab.nodes
        over.pools.create(poolid="by-ssh", comment="of two words")
        assert over.pools.get(poolid="by-ssh")[0]["comment"] == "of two words"
        over.pools.delete(poolid="by-ssh")
        with pytest.raises(ResourceException):
            over.nodes("node1").qemu(999).config.get()
    finally:
        over._store["session"].ssh_client.close()
