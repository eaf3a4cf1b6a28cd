"""What lists of the cluster show, and to whom: as in PVE/API2/{Cluster,Tasks}.pm (pve-manager)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.host import NODE, Host

TOKEN = "a@pve!tk"


@pytest.fixture
def host() -> Host:
    """A host with guest 100 in pool `p`, and a user whose token holds what he does."""
    host = Host()
    host.data("POST", "/access/users", userid="a@pve")
    host.data("POST", "/access/users/a@pve/token/tk", privsep=0)
    host.data("POST", "/pools", poolid="p")
    host.task("POST", f"{NODE}/qemu", vmid=100, pool="p")
    return host


def seen(host: Host, identity: str, path: str, **params: Any) -> Any:
    return (host.api.call(identity, "GET", path, params, "pve").body or {})["data"]


def test_a_storage_is_a_resource_for_its_auditors_and_while_it_is_enabled(host: Host) -> None:
    def storages(identity: str) -> list[str]:
        return [each["storage"] for each in seen(host, identity, "/cluster/resources", type="storage")]

    host.data("PUT", "/access/acl", path="/storage", roles="PVEDatastoreUser", users="a@pve")
    assert storages("a@pve") == storages("root@pam") == ["local"]
    host.data("POST", "/access/roles", roleid="Space", privs="Datastore.AllocateSpace")
    host.data("PUT", "/access/acl", path="/storage", roles="PVEDatastoreUser", users="a@pve", delete=1)
    host.data("PUT", "/access/acl", path="/storage", roles="Space", users="a@pve")
    assert storages("a@pve") == []
    host.data("PUT", "/storage/local", disable=1)
    assert storages("root@pam") == []


def test_a_guest_s_pool_is_told_to_those_who_may_see_the_pool(host: Host) -> None:
    host.data("PUT", "/access/acl", path="/vms", roles="PVEVMUser", users="a@pve")
    assert ["pool" in each for each in seen(host, "a@pve", "/cluster/resources", type="vm")] == [False]
    host.data("PUT", "/access/acl", path="/pool/p", roles="PVEPoolUser", users="a@pve")
    assert [each["pool"] for each in seen(host, "a@pve", "/cluster/resources", type="vm")] == ["p"]


def test_a_token_that_may_not_see_all_sees_no_tasks_of_the_cluster(host: Host) -> None:
    """A task is told of by its user there, and a token is none; of a node's list it sees its own."""
    host.data("PUT", "/access/acl", path="/vms", roles="PVEVMAdmin", users="a@pve")
    host.api.call(TOKEN, "POST", f"{NODE}/qemu/100/status/start", {}, "pve")
    of_user = [each["type"] for each in seen(host, "a@pve", "/cluster/tasks")]
    assert (of_user, seen(host, TOKEN, "/cluster/tasks")) == (["qmstart"], [])
    assert [each["type"] for each in seen(host, TOKEN, f"{NODE}/tasks")] == ["qmstart"]


def test_the_cluster_s_log_is_told_to_those_who_may_read_logs(host: Host) -> None:
    assert seen(host, "a@pve", "/cluster/log") == []
    host.data("PUT", "/access/acl", path="/", roles="PVESysAdmin", users="a@pve")
    assert seen(host, "a@pve", "/cluster/log") == seen(host, "root@pam", "/cluster/log") != []


def test_warnings_are_listed_with_errors_and_what_runs_says_so(host: Host) -> None:
    """PVE::API2::Tasks, node_tasks: what is still in the file of active workers is not saved."""
    (created,) = host.world.all("task").values()
    host.world.put("task", created["upid"], created | {"exitstatus": "WARNINGS: 1"})
    assert [each["status"] for each in host.data("GET", f"{NODE}/tasks", errors=1)] == ["WARNINGS: 1"]
    running = created | {"upid": "UPID:pve:000003E9:00000001:00000001:vzdump:1:root@pam:", "id": "1"}
    running |= {"exitstatus": None, "endtime": None, "status": "running", "due": 9e12}
    host.world.put("task", running["upid"], running)
    (active,) = host.data("GET", f"{NODE}/tasks", source="active")
    assert (active["status"], active["saved"], "endtime" in active) == ("RUNNING", "0", False)


def test_an_index_is_answered_whatever_node_the_path_names(host: Host) -> None:
    assert {"name": "qemu"} in host.data("GET", "/nodes/nonode")
    assert host.data("GET", "/nodes/nonode/tasks/UPID:x") == [{"name": "log"}, {"name": "status"}]
    assert str(host.refused("GET", "/nodes/nonode/tasks")).startswith("hostname lookup 'nonode' failed")


def test_an_interface_by_itself_has_no_name(host: Host) -> None:
    """network_config of PVE::API2::Network: the list alone adds the names."""
    bridge = {"type": "bridge", "method": "manual"}
    node = host.world.get("node", "pve") or {}
    host.world.put("node", "pve", node | {"interfaces": [bridge | {"iface": "vmbr0"}]})
    assert host.data("GET", f"{NODE}/network/vmbr0") == bridge
    assert host.refused("GET", f"{NODE}/network/vmbr77") == {"iface": "interface does not exist"}


def test_a_node_on_its_own_has_no_totem(host: Host) -> None:
    assert host.data("GET", "/cluster/config/totem") is None
    host.world.put("node", "other", host.world.get("node", "pve") or {})
    assert host.data("GET", "/cluster/config/totem")["secauth"] == "on"


def test_the_id_of_a_server_is_told_to_its_auditors(host: Host) -> None:
    assert "serverid" in host.data("GET", f"{NODE}/subscription")
    assert "serverid" not in seen(host, "a@pve", f"{NODE}/subscription")


def test_which_tags_one_is_told_to_be_allowed(host: Host) -> None:
    """get_allowed_tags of PVE::GuestHelpers."""

    def allowed(identity: str) -> list[str]:
        found: list[str] = seen(host, identity, "/cluster/options")["allowed-tags"]
        return found

    host.data("PUT", f"{NODE}/qemu/100/config", tags="made;ours")
    host.data("PUT", "/cluster/options", registered__tags="ours", user__tag__access="user-allow-list=listed")
    assert allowed("root@pam") == ["listed", "made", "ours"]
    assert allowed("a@pve") == ["listed"]
    host.data("PUT", "/access/acl", path="/vms", roles="PVEVMUser", users="a@pve")
    assert allowed("a@pve") == ["listed", "made"]
    host.data("PUT", "/cluster/options", user__tag__access="user-allow=none,user-allow-list=listed")
    assert (allowed("a@pve"), allowed("root@pam")) == ([], ["listed", "made", "ours"])
