"""Own which keys of an answer pveum and pvesh show as text, and how: what the official schema says of a path.

A word is `name`, `name?` where it may be missing, then `:bytes`, `:int` …; `@9` and `@8` as in parameters
(lib/lab/pve/params.py). Of a path that is not here every key is shown that the answer has.
"""

from __future__ import annotations

import functools
import re

_GUEST = """cpu?:num cpus?:num diskread?:bytes diskwrite?:bytes lock? maxdisk?:bytes maxmem?:bytes mem?:bytes
memhost?:bytes@9 name? netin?:bytes netout?:bytes pid?:int pressurecpufull?:num@9 pressurecpusome?:num@9
pressureiofull?:num@9 pressureiosome?:num@9 pressurememoryfull?:num@9 pressurememorysome?:num@9 qmpstatus?
running-machine? running-qemu? serial?:bool tags? template?:bool uptime?:duration"""
COLUMNS = {
    "/version": "release repoid version console?",
    "/access/acl": "path roleid type ugid propagate?:bool",
    "/access/domains": "realm type comment? tfa?",
    "/access/groups": "groupid comment? users?",
    "/access/roles": "roleid privs? special?:bool",
    "/access/users": """userid comment? email? enable?:bool expire?:int firstname? groups? keys? lastname? realm-type?
    tfa-locked-until?:int tokens? totp-locked?:bool""",
    "/access/users/{userid}": """comment? email? enable?:bool expire?:int firstname? groups? keys? lastname? tokens?""",
    "/access/users/{userid}/token": "tokenid comment? expire?:int privsep?:bool",
    "/cluster/ha/resources": "sid",
    "/cluster/resources": """id type cgroup-mode?:int content? cpu?:percent disk?:bytes diskread?:bytes
    diskwrite?:bytes hastate? host-arch?@9 level? lock? maxcpu?:num maxdisk?:bytes maxmem?:bytes mem?:bytes
    memhost?:bytes@9 name? netin?:bytes netout?:bytes network-type?@9 network?@9 node? plugintype? pool? protocol?@9
    sdn?@9 shared?:bool@9 status? storage? tags? template?:bool uptime?:duration vmid?:int zone-type?@9""",
    "/cluster/status": """id name type ip? level? local?:bool nodeid?:int nodes?:int online?:bool quorate?:bool
    version?:int""",
    "/cluster/tasks": "upid",
    "/nodes": """node status cpu?:percent level? maxcpu?:int maxmem?:bytes mem?:bytes ssl_fingerprint?
    uptime?:duration""",
    "/nodes/{node}/dns": "dns1? dns2? dns3? search?",
    "/nodes/{node}/qemu": f"status vmid:int {_GUEST}",
    "/nodes/{node}/qemu/{vmid}/pending": "key delete?:int pending? value?",
    "/nodes/{node}/qemu/{vmid}/snapshot": "description name parent? snaptime?:time vmstate?:bool",
    "/nodes/{node}/qemu/{vmid}/status/current": f"ha status vmid:int {_GUEST} agent?:bool clipboard? spice?:bool",
    "/nodes/{node}/status": "boot-info cpu:num cpuinfo current-kernel loadavg memory pveversion rootfs",
    "/nodes/{node}/storage": """content storage type active?:bool avail?:bytes enabled?:bool formats?@9
    select_existing?:bool@9 shared?:bool total?:bytes used?:bytes used_fraction?:percent""",
    "/nodes/{node}/storage/{storage}/content": """format size:bytes@8 volid approximate-size?:bytes@9 ctime?:int
    encrypted? notes? parent? protected?:bool size?:bytes@9 used?:bytes verification? vmid?:int""",
    "/nodes/{node}/storage/{storage}/status": """content@9 type@9 active?:bool@9 avail?:bytes@9 enabled?:bool@9
    shared?:bool@9 total?:bytes@9 used?:bytes@9""",
    "/nodes/{node}/tasks": """id node pid:int pstart:int starttime:int@8 starttime:time@9 type upid user
    endtime?:int@8 endtime?:time@9 status?""",
    "/nodes/{node}/time": "localtime:time time:time timezone",
    "/nodes/{node}/version": "release repoid version",
    "/pools": "poolid comment? members?",
    "/storage": "storage",
}


@functools.cache
def columns(path: str, version: int) -> dict[str, str]:
    """Return the keys that are shown of a path's answer, in their order (what must be there first), each with its type.

    `path` is a route's, with the names of its parameters; empty where everything is shown.
    """
    must: dict[str, str] = {}
    may: dict[str, str] = {}
    for word in COLUMNS.get(path, "").split():
        match = re.fullmatch(r"(?P<name>[\w-]+)(?P<optional>\?)?(?::(?P<type>\w+))?(?:@(?P<only>[89]))?", word)
        assert match is not None, word
        if match["only"] is None or (match["only"] == "9") == (version >= 9):
            (may if match["optional"] else must)[match["name"]] = match["type"] or ""
    return dict(sorted(must.items())) | dict(sorted(may.items()))
