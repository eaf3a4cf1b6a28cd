"""Own what is read of the cluster beyond its guests: settings, high availability, SDN, firewall, and notifications.

A fresh cluster has nothing of these but what is built in. Only the settings of the datacenter can be changed.
"""

from __future__ import annotations

from typing import Any

from lib.lab.provenance import INDEX, SCHEMA, belief
from lib.lab.pve import datacenter
from lib.lab.pve.answers import failure
from lib.lab.pve.call import Call, Route, either, perm
from lib.lab.pve.formats import split_list
from lib.lab.pve.guest_options import KEYBOARDS
from lib.lab.pve.readings import AUDIT, FRESH_DIGEST, names, reading
from lib.lab.pve.rights import major

# ----------------------------------------------------------------- settings


def get_options(call: Call) -> dict[str, Any]:
    """GET /cluster/options: an auditor sees all of them."""
    kept = datacenter.shown(call.world)
    shown = kept if call.may("/", "Sys.Audit") else {key: kept[key] for key in ("console", "tag-style") if key in kept}
    return shown | {"allowed-tags": sorted(datacenter.allowed_tags(call.world, call))}


def set_options(call: Call) -> None:
    """PUT /cluster/options."""
    stored = call.world.get("meta", "options")
    kept: dict[str, Any] = dict(datacenter.FRESH) if stored is None else stored
    kept |= {key: value for key, value in call.params.items() if key != "delete"}
    gone = split_list(call.get("delete", ""))
    call.world.put("meta", "options", {key: value for key, value in kept.items() if key not in gone})
    lower, upper = datacenter.ids(datacenter.settings(call.world))
    if lower > upper:
        raise failure(f"lower ({lower}) <= upper ({upper}) boundary rule broken")


def _index(call: Call) -> list[dict[str, str]]:
    also = ("bulk-action", "qemu") if major(call.world) >= 9 else ()
    return names("name", *_FOLDERS, *also)


def _log(call: Call) -> list[dict[str, Any]]:
    """Return the one entry, which is root's: others see it who may read logs."""
    if not call.may("/", "Sys.Syslog"):
        return []
    entry = {"node": call.node, "pid": 1, "pri": 6, "tag": "pvedaemon", "time": int(call.now), "uid": 1}
    return [entry | {"user": "root@pam", "msg": "starting task", "id": f"1:{call.node}"}]


# -------------------------------------------------------- high availability


def _ha_status(call: Call) -> list[dict[str, Any]]:
    return [{"id": "quorum", "node": call.node, "quorate": 1, "status": "OK", "type": "quorum"}]


def _ha_manager(call: Call) -> dict[str, Any]:
    lrm: dict[str, Any] = {name: {} for name in call.world.keys("node")}
    return {"lrm_status": lrm, "manager_status": {}, "quorum": {"node": call.node, "quorate": "1"}}


def _members(call: Call) -> list[dict[str, Any]]:
    """Return the members of the cluster; a node on its own is none."""
    nodes = call.world.all("node")
    if len(nodes) == 1:
        return []
    return [
        {"name": name, "node": name, "nodeid": str(node["nodeid"]), "quorum_votes": "1", "ring0_addr": node["address"]}
        for name, node in nodes.items()
    ]


def _totem(call: Call) -> dict[str, Any] | None:
    nodes = call.world.keys("node")
    if len(nodes) == 1:
        return None
    told = {"cluster_name": call.world.lab.get("cluster_name", "lab"), "config_version": str(len(nodes))}
    told |= {"ip_version": "ipv4-6", "link_mode": "passive", "secauth": "on", "version": "2"}
    return told | {"interface": {"0": {"linknumber": "0"}}}


def _no_zone(call: Call) -> Any:
    raise failure(f"sdn '{call['zone']}' does not exist")


_FOLDERS = (
    *("acme", "backup", "backup-info", "ceph", "config", "firewall", "ha", "jobs", "log", "mapping", "metrics"),
    *("nextid", "notifications", "options", "replication", "resources", "sdn", "status", "tasks"),
)
_OPTIONS = f"""bwlimit?:{{bwlimit}} consent-text?:str<..65536> console?:(applet|vv|html5|xtermjs) crs?:{{crs}}
delete?:configid-list description?:str<..65536> email_from?:email-opt fencing?:(watchdog|hardware|both) ha?:{{ha}}
http_proxy?:http-proxy keyboard?:({KEYBOARDS})
language?:(ar|ca|da|de|en|es|eu|fa|fr|hr|he|it|ja|ka|kr|nb|nl|nn|pl|pt_BR|ru|sl|sv|tr|ukr|zh_CN|zh_TW)
location?:node-location@9 mac_prefix?:mac-prefix max_workers?:int[1..] migration?:{{migration}}
migration_unsecure?:bool next-id?:{{next-id}} notify?:{{notify}} registered-tags?:tag-words
replication?:{{replication}}@9 tag-style?:{{tag-style}} u2f?:{{u2f}} user-tag-access?:{{user-tag-access}}
webauthn?:{{webauthn}}"""
_SDN = "pending?:bool running?:bool"
_MAPPED = "check-node?:node"
_MAPPINGS = "/mapping/notifications"
_NOTIFIES = either(*(perm(_MAPPINGS, name) for name in ("Mapping.Modify", "Mapping.Audit", "Mapping.Use")))
_MAIL = {"comment": "Send mails to root@pam's email address", "name": "mail-to-root", "origin": "builtin"}
_ALL_MAIL = {"comment": "Route all notifications to mail-to-root", "mode": "all", "name": "default-matcher"}
_HA_MANAGER = belief("the manager of high availability has nothing to tell")
_NO_SDN, _NO_ACME = belief("there is no SDN zone"), belief("nobody has an ACME account")
_COROSYNC = belief("what corosync tells of its protocol, and of a device for its quorum that is not there")
_LOG = belief("what an entry of the cluster's log has")
_ZONE = "zone:sdn-zone-id@8 zone:sdn-name<2..8>@9 pending?:bool running?:bool"
ROUTES = (
    Route("PUT", "/cluster/options", set_options, perm("/", "Sys.Modify"), _OPTIONS, by=SCHEMA),
    reading("/cluster/options", get_options, SCHEMA),
    reading("/cluster", _index, INDEX),
    reading("/cluster/log", _log, _LOG, declaration="max?:int[1..]"),
    reading("/cluster/ha", names("id", "status", "resources", "groups", "rules"), INDEX, AUDIT),
    reading("/cluster/ha/resources", [], SCHEMA, AUDIT, "type?:(ct|vm)"),
    reading("/cluster/ha/groups", [], SCHEMA, AUDIT),
    reading("/cluster/ha/rules", [], SCHEMA, AUDIT, "resource?:str type?:(node-affinity|resource-affinity)", only=9),
    reading("/cluster/ha/status", names("name", "current", "manager_status"), INDEX),
    reading("/cluster/ha/status/current", _ha_status, SCHEMA, AUDIT),
    reading("/cluster/ha/status/manager_status", _ha_manager, _HA_MANAGER, AUDIT),
    reading("/cluster/replication", [], SCHEMA),
    reading(
        "/cluster/firewall", names("name", "aliases", "groups", "ipset", "macros", "options", "refs", "rules"), INDEX
    ),
    reading("/cluster/firewall/options", {"digest": FRESH_DIGEST}, SCHEMA, AUDIT),
    reading("/cluster/firewall/rules", [], SCHEMA, AUDIT),
    reading("/cluster/firewall/groups", [], SCHEMA),
    reading("/cluster/firewall/aliases", [], SCHEMA, AUDIT),
    reading("/cluster/firewall/ipset", [], SCHEMA, AUDIT),
    reading("/cluster/firewall/refs", [], SCHEMA, AUDIT, "type?:(alias|ipset)"),
    reading(
        "/cluster/sdn",
        names("id", "vnets", "zones", "controllers", "ipams", "dns"),
        INDEX,
        perm("/sdn", "SDN.Audit"),
    ),
    reading("/cluster/sdn/zones", [], SCHEMA, declaration=f"{_SDN} type?:(evpn|faucet|qinq|simple|vlan|vxlan)"),
    reading("/cluster/sdn/zones/{zone}", _no_zone, _NO_SDN, perm("/sdn/zones/{zone}", "SDN.Allocate"), _ZONE),
    reading("/cluster/sdn/vnets", [], SCHEMA, declaration=_SDN),
    reading("/cluster/sdn/controllers", [], SCHEMA, declaration=f"{_SDN} type?:(bgp|evpn|faucet|isis)"),
    reading("/cluster/sdn/ipams", [{"ipam": "pve", "type": "pve"}], SCHEMA, declaration="type?:(netbox|phpipam|pve)"),
    reading("/cluster/sdn/dns", [], SCHEMA, declaration="type?:(powerdns)"),
    reading("/cluster/config", names("name", "nodes", "totem", "join", "qdevice", "apiversion"), INDEX, AUDIT),
    reading("/cluster/config/nodes", _members, SCHEMA, AUDIT),
    reading("/cluster/config/totem", _totem, _COROSYNC, AUDIT),
    reading("/cluster/config/qdevice", {}, _COROSYNC, AUDIT),
    reading("/cluster/config/apiversion", 1, SCHEMA, AUDIT),
    reading("/cluster/jobs", names("subdir", "schedule-analyze", "realm-sync"), INDEX),
    reading("/cluster/jobs/realm-sync", [], SCHEMA, AUDIT),
    reading("/cluster/mapping", names("name", "dir", "pci", "usb"), INDEX),
    *(reading(f"/cluster/mapping/{kind}", [], SCHEMA, declaration=_MAPPED) for kind in ("dir", "pci", "usb")),
    reading("/cluster/metrics", names("name", "server", "export"), INDEX),
    reading("/cluster/metrics/server", [], SCHEMA, AUDIT),
    reading("/cluster/notifications", names("name", "endpoints", "matchers", "targets"), INDEX),
    reading("/cluster/notifications/endpoints", names("name", "gotify", "sendmail", "smtp", "webhook"), INDEX),
    reading("/cluster/notifications/targets", [_MAIL | {"type": "sendmail"}], SCHEMA, _NOTIFIES),
    reading(
        "/cluster/notifications/matchers",
        [_ALL_MAIL | {"origin": "builtin", "target": ["mail-to-root"]}],
        SCHEMA,
        _NOTIFIES,
    ),
    reading("/cluster/acme/account", [], _NO_ACME),
)
