"""OpenTofu with the real provider judges the lab: a guest from the base template is made, changed, moved, destroyed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from proxmoxer import ProxmoxAPI

from tests.judges.joined import Joined, built
from tests.product import ROOT

VERSION = "0.111.0"
CHANGES = {"memory": 4096, "tags": ["groundwork", "judged"]}
ROLE = "GroundworkPacker"
TOFU_NEEDS = ("VM.Migrate", "Pool.Audit", "Pool.Allocate")  # beyond what Packer does
REFUSED = "received an HTTP 403 response - Reason: Permission check failed"


class Tofu:
    """A working folder of OpenTofu, whose provider comes from a filesystem mirror and logs in by `credentials`."""

    def __init__(self, lab: Joined, folder: Path, **credentials: str) -> None:
        self._lab, self._folder, self._program = lab, folder, built("tofu")
        provider = built("terraform-provider-proxmox")
        shutil.copytree(ROOT / "tests" / "judges" / "opentofu", folder)
        (folder / "tofurc").write_text(
            f'provider_installation {{\n  filesystem_mirror {{ path = "{folder}/mirror" }}\n}}'
        )
        self._variables = credentials | {
            "SSL_CERT_FILE": lab.variables["SSL_CERT_FILE"],
            "PROXMOX_VE_ENDPOINT": lab.variables["PROXMOX_VE_ENDPOINT"],
            "TF_CLI_CONFIG_FILE": str(folder / "tofurc"),
            "TF_CLI_ARGS_apply": "-no-color",
            "HTTPS_PROXY": "http://127.0.0.1:9",  # nobody answers there: whatever left this machine would fail
            "NO_PROXY": "127.0.0.1",
        }
        # OpenTofu itself says under which source address and platform it looks for the provider.
        address = re.findall(r"provider\[(\S+)\]", self("providers").stdout)[0]
        platform = json.loads(self("version", "-json").stdout)["platform"]
        place = folder / "mirror" / address / VERSION / platform
        place.mkdir(parents=True)
        (place / f"terraform-provider-proxmox_v{VERSION}").symlink_to(provider)
        assert self("init").returncode == 0

    def __call__(self, *words: str, **changed: Any) -> CompletedProcess[str]:
        (self._folder / "terraform.tfvars.json").write_text(json.dumps(changed))
        return self._lab.run(self._program, *words, cwd=self._folder, variables=self._variables)

    def apply(self, **changed: Any) -> str:
        """Apply, and see that nothing is left to do; return what it counted."""
        done = self("apply", "-auto-approve", **changed)
        assert done.returncode == 0, done.stderr
        again = self("plan", "-detailed-exitcode", **changed)
        assert again.returncode == 0, again.stdout + again.stderr
        return done.stdout.partition("Apply complete! Resources: ")[2].splitlines()[0]

    def addresses(self) -> Any:
        [guest] = json.loads(self("show", "-json").stdout)["values"]["root_module"]["resources"]
        return guest["values"]["ipv4_addresses"]

    def refusal(self, **changed: Any) -> str:
        """Apply what must be refused; return the provider's error."""
        done = self("apply", "-auto-approve", **changed)
        assert done.returncode == 1
        return " ".join(done.stderr.split())  # it breaks its lines

    def destroy(self) -> None:
        done = self("destroy", "-auto-approve")
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def programs() -> None:
    """Skip before a lab is started for nothing."""
    built("tofu")
    built("terraform-provider-proxmox")


@pytest.fixture(scope="module")
def founded(programs: None, lab: Joined) -> Joined:
    """Return a lab with the base template and Packer's role in it."""
    lab.invoke("foundation")
    return lab


@pytest.fixture
def proxmox(founded: Joined) -> Iterator[ProxmoxAPI]:
    host = founded.variables["PROXMOX_VE_ENDPOINT"].removeprefix("https://").rstrip("/")
    login = {"user": "root@pam", "password": founded.variables["PROXMOX_PASSWORD"]}
    api = ProxmoxAPI(host, verify_ssl=founded.variables["SSL_CERT_FILE"], **login)
    yield api
    if any(vm["vmid"] == 140 for vm in api.cluster.resources.get(type="vm")):  # a test failed half-way
        api.nodes("node2").qemu(140).status.stop.post()
        api.nodes("node2").qemu(140).delete()
    api._store["session"].close()


@pytest.fixture
def token(proxmox: ProxmoxAPI) -> Iterator[str]:
    """Return a token that holds, where Packer holds its role, that role and what OpenTofu needs beyond it."""
    privileges = [*proxmox.access.roles(ROLE).get(), *TOFU_NEEDS]
    proxmox.access.roles.post(roleid="Tofu", privs=",".join(privileges))
    proxmox.access.users.post(userid="tofu@pve")
    value = proxmox.access.users("tofu@pve").token("judge").post()["value"]
    for acl in proxmox.access.acl.get():
        if acl["roleid"] == ROLE and acl["type"] == "user":
            proxmox.access.acl.put(path=acl["path"], roles="Tofu", users="tofu@pve", tokens="tofu@pve!judge")
    yield f"tofu@pve!judge={value}"
    proxmox.access.users("tofu@pve").delete()
    proxmox.access.roles("Tofu").delete()


def lead_a_life(tofu: Tofu, proxmox: ProxmoxAPI) -> None:
    """Make the guest, leave it as it is, change it, and change it with a reboot."""
    assert tofu("plan", "-detailed-exitcode").returncode == 2
    assert tofu.apply() == "1 added, 0 changed, 0 destroyed."
    guest = proxmox.nodes("node2").qemu(140)
    assert tofu.addresses() == [["127.0.0.1"], ["10.10.1.40"]]
    assert (guest.status.current.get()["status"], guest.config.get()["scsi0"].count("size=12G")) == ("running", 1)
    assert tofu.apply() == "0 added, 0 changed, 0 destroyed."
    assert tofu.apply(**CHANGES) == "0 added, 1 changed, 0 destroyed."
    assert (guest.config.get()["memory"], guest.config.get()["tags"]) == ("4096", "groundwork;judged")
    assert guest.config.get(current=1)["memory"] == "2048", "it waits for the next start"
    assert tofu.apply(memory=3072, address="10.10.1.41", reboot=True) == "0 added, 1 changed, 0 destroyed."
    assert (guest.config.get(current=1)["memory"], tofu.addresses()[1]) == ("3072", ["10.10.1.41"])


def nothing_is_unknown(lab: Joined) -> None:
    """Hold the lab to know every path that was asked for."""
    assert not [line for line in lab.journal("api") if line["status"] == 501]


def test_the_administrator_leads_a_guest_through_its_life(founded: Joined, proxmox: ProxmoxAPI, tmp_path: Path) -> None:
    names = ("PROXMOX_VE_USERNAME", "PROXMOX_VE_PASSWORD")
    tofu = Tofu(founded, tmp_path / "work", **{name: founded.variables[name] for name in names})
    lead_a_life(tofu, proxmox)
    assert tofu.apply(node="node3") == "0 added, 1 changed, 0 destroyed."
    assert [vm["node"] for vm in proxmox.cluster.resources.get(type="vm") if vm["vmid"] == 140] == ["node3"]
    tofu.destroy()
    assert [vm["vmid"] for vm in proxmox.cluster.resources.get(type="vm")] == [9002]
    nothing_is_unknown(founded)


@pytest.mark.parametrize("lab", ["9.2", "8.4"], indirect=True)
def test_a_token_with_packer_s_privileges_and_three_more_does_the_same(
    founded: Joined, proxmox: ProxmoxAPI, token: str, tmp_path: Path
) -> None:
    tofu = Tofu(founded, tmp_path / "work", PROXMOX_VE_API_TOKEN=token)
    lead_a_life(tofu, proxmox)
    # Before it moves a guest the provider asks whether high availability does that: a right on the whole cluster.
    assert f"{REFUSED} (/, Sys.Audit)" in tofu.refusal(node="node3")
    proxmox.access.acl.put(path="/", roles="PVEAuditor", users="tofu@pve", tokens="tofu@pve!judge", propagate=0)
    assert tofu.apply(node="node3") == "0 added, 1 changed, 0 destroyed."
    tofu.destroy()
    assert [vm["vmid"] for vm in proxmox.cluster.resources.get(type="vm")] == [9002]
    assert {line["user"] for line in founded.journal("api")} >= {"tofu@pve!judge"}
    nothing_is_unknown(founded)


@pytest.mark.parametrize(
    ("privilege", "path"),
    [
        ("VM.Clone", "/vms/9002"),
        ("Datastore.AllocateSpace", "/storage/rbd"),
        ("SDN.Use", "/sdn/zones/localnetwork/vmbr0"),
        ("VM.PowerMgmt", "/vms/140"),
    ],
)
def test_a_privilege_taken_away_is_named_by_the_provider(
    founded: Joined, proxmox: ProxmoxAPI, token: str, tmp_path: Path, privilege: str, path: str
) -> None:
    role = proxmox.access.roles("Tofu")
    whole = list(role.get())
    role.put(privs=",".join(name for name in whole if name != privilege))
    tofu = Tofu(founded, tmp_path / "work", PROXMOX_VE_API_TOKEN=token)
    assert f"{REFUSED} ({path}, {privilege})" in tofu.refusal()
    role.put(privs=",".join(whole))
    tofu.destroy()
