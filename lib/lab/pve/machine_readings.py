"""Own what is read of a node's programs: its models of CPU and machine, its journals, services and certificates."""

from __future__ import annotations

import hashlib
from typing import Any

from lib.lab.provenance import INDEX, SCHEMA
from lib.lab.pve.call import Call, Route, on_guest, perm
from lib.lab.pve.cpu_models import MODELS
from lib.lab.pve.readings import MACHINE, names, reading
from lib.lab.pve.rights import major

_NEWEST = "10.0"  # the newest machine type of the lab's QEMU


def _machines(call: Call) -> list[dict[str, str]]:
    return [
        {"id": f"pc-{kind}-{_NEWEST}{pve}", "type": kind, "version": f"{_NEWEST}{pve}"}
        for kind in ("i440fx", "q35")
        for pve in ("+pve1", "")
    ]


def _vendor(model: str) -> str:
    if model.startswith(("athlon", "EPYC", "Opteron", "phenom")):
        return "AuthenticAMD"
    return "default" if model.startswith(("host", "kvm", "max", "qemu", "x86-64")) else "GenuineIntel"


def _models(call: Call) -> list[dict[str, Any]]:
    own = [name for name in sorted(MODELS) if not name.startswith(("a64fx", "cortex", "neoverse"))]
    return [{"custom": 0, "name": name, "vendor": _vendor(name)} for name in own]


def _capabilities(call: Call) -> list[dict[str, str]]:
    return names("name", "cpu", "machines", *(["cpu-flags", "migration"] if major(call.world) >= 9 else []))


def _certificates(call: Call) -> list[dict[str, Any]]:
    """Return what there is of a node's certificates: the CA's, and the one that it signed."""
    found = []
    authority = "/CN=Proxmox Virtual Environment"
    for name, subject in (("pve-root-ca.pem", authority), ("pve-ssl.pem", f"/CN={call.node}")):
        digest = hashlib.sha256(f"{name} {call.node}".encode()).hexdigest().upper()
        print_ = ":".join(digest[place : place + 2] for place in range(0, 64, 2))
        shown: dict[str, Any] = {"filename": name, "fingerprint": print_, "subject": subject, "issuer": authority}
        shown |= {"notafter": 2082758400, "notbefore": 1767225600, "pem": "", "san": [call.node]}
        found.append(shown | {"public-key-bits": 2048, "public-key-type": "rsaEncryption"})
    return found


def _packages(call: Call) -> list[dict[str, str]]:
    packages = (call.world.get("host", call.node) or {}).get("packages", {})
    shared = {"Arch": "amd64", "CurrentState": "Installed", "Origin": "Proxmox", "Priority": "optional"}
    return [
        shared
        | {"Package": name, "Title": name, "Description": name, "Section": "admin", "Version": version}
        | {"OldVersion": version}
        for name, version in packages.items()
    ]


def _report(call: Call) -> str:
    return f"\n==== general system info ====\n\n# hostname\n{call.node}\n"


_NODE = "node:node"
_SYSLOG = perm("/nodes/{node}", "Sys.Syslog")
_FROM = "limit?:int[0..] start?:int[0..]"
_LINES = f"{_FROM} since?:int[0..] until?:int[0..]"
_SINCE = f"{_NODE} {_FROM} service?:str<..128> since?:log-time until?:log-time"
_JOURNAL = f"""{_NODE} endcursor?:str lastentries?:int[0..] since?:int[0..] startcursor?:str until?:int[0..]
identifiers?:bool@9 kernel?:bool@9 priority?:journal-priority@9 service?:journal-service<..128>@9 structured?:bool@9
unit?:journal-unit<..256>@9 units?:bool@9"""
_NOTHING = [{"n": 1, "t": "no content"}]
_AT = "/nodes/{node}"
_QEMU = f"{_AT}/capabilities/qemu"
_ARCH = f"{_NODE} arch?:(x86_64|aarch64)@9"
ROUTES: tuple[Route, ...] = (
    reading("/", names("subdir", "version", "cluster", "nodes", "storage", "access", "pools"), INDEX),
    reading("/access/openid", names("subdir", "auth-url", "login"), INDEX),
    reading(
        "/cluster/acme",
        names("name", "account", "challenge-schema", "directories", "meta", "plugins", "tos"),
        INDEX,
    ),
    reading("/cluster/bulk-action", names("name", "guest"), INDEX, only=9),
    reading(f"{_AT}/sdn", names("name", "zones"), INDEX, declaration=_NODE),
    reading(_QEMU, _capabilities, INDEX, declaration=_NODE),
    reading(f"{_QEMU}/cpu", _models, SCHEMA, declaration=_ARCH),
    reading(f"{_QEMU}/machines", _machines, MACHINE, declaration=_ARCH),
    reading(f"{_AT}/certificates/info", _certificates, MACHINE, declaration=_NODE),
    reading(f"{_AT}/apt/versions", _packages, MACHINE, perm("/nodes/{node}", "Sys.Audit"), _NODE),
    reading(f"{_AT}/syslog", _NOTHING, MACHINE, _SYSLOG, _SINCE),
    reading(f"{_AT}/journal", [], MACHINE, _SYSLOG, _JOURNAL),
    reading(f"{_AT}/report", _report, MACHINE, perm("/nodes/{node}", "Sys.Audit"), _NODE),
    reading(f"{_AT}/aplinfo", [], MACHINE, declaration=_NODE),
    reading(f"{_AT}/firewall/log", _NOTHING, MACHINE, _SYSLOG, f"{_NODE} {_LINES}"),
    reading(
        f"{_AT}/qemu/{{vmid}}/firewall/log",
        _NOTHING,
        MACHINE,
        on_guest("VM.Console"),
        f"{_NODE} vmid:vmid {_LINES}",
    ),
)
