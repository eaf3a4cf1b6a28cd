"""Own virt-customize and qemu-img: what they read and change are an image file's facts, not its bytes."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from lib.lab.programs.arguments import parse
from lib.lab.programs.host import Host, Output, strerror
from lib.lab.provenance import belief

PREFIX = "virt-customize: error: "
VALUES = (
    "a add install truncate run-command firstboot-command timezone hostname root-password ssh-inject upload copy-in "
    "write delete mkdir update-packages format password edit m memsize uninstall chmod append-line link touch"
)


def virt_customize(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Install packages into an image and empty its machine-id."""
    options, _ = parse(
        argv, "q quiet v x no-network network update selinux-relabel no-selinux-relabel no-logfile", VALUES
    )
    path = options.get("a", options.get("add", ""))
    if not path:
        return Output(1, "", f"{PREFIX}you must give either -a or -d options.\n")
    try:
        found = host.files.stat(host.path(path))
    except OSError as error:
        return Output(1, "", f"{PREFIX}libguestfs error: add_drive: {path}: {strerror(error)}\n")
    facts: dict[str, Any] = dict(found.get("facts") or {})
    if "packages" not in facts:
        why = "no operating systems were found in the guest image"
        return Output(1, "[   0.0] Examining the guest ...\n", f"{PREFIX}{why}\n", seconds=6.0)
    names = options["install"].split(",") if "install" in options else []
    told = "[   0.0] Examining the guest ...\n[   6.3] Setting a random seed\n"
    if names:
        told += f"[   6.4] Installing packages: {' '.join(names)}\n"
        if not _network(host, options):
            why = f"apt-get -q -y install {' '.join(names)}: command exited with an error"
            return Output(1, told, f"Temporary failure resolving 'archive.ubuntu.com'\n{PREFIX}{why}\n", seconds=12.0)
        if "" in names:
            why = "apt-get -q -y install '': command exited with an error"
            return Output(1, told, f"E: Unable to locate package \n{PREFIX}{why}\n", seconds=12.0)
    facts["packages"] = sorted(set(facts["packages"]) | set(names))
    # Any start of a guest's programs fills an uninitialized machine-id: it has to be emptied afterwards.
    if "truncate" in options:
        told += f"[  20.0] Truncating: {options['truncate']}\n"
    emptied = options.get("truncate") == "/etc/machine-id"
    facts["machine_id"] = "" if emptied else secrets.token_hex(16) if names else facts.get("machine_id", "")
    digest = hashlib.sha256((found["sha256"] + secrets.token_hex(16)).encode()).hexdigest()
    host.files.set_facts(host.path(path), digest, facts)
    quiet = "q" in options or "quiet" in options
    return Output(0, "" if quiet else told + "[  21.0] Finishing off\n", seconds=22.0 if names else 8.0)


def _network(host: Host, options: dict[str, str]) -> bool:
    """Tell whether the appliance gets a network: since PVE 9 (Debian 13) only with dhcpcd-base on the host."""
    if "no-network" in options:
        return False
    return host.world.lab.get("pve") == "8.4" or "dhcpcd-base" in host.system().get("packages", {})


def qemu_img(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Tell about an image file: `qemu-img info [--output json] FILE`."""
    if argv[:1] != ["info"]:
        return Output(1, "", f"qemu-img: Command not found: {argv[0] if argv else ''}\n")
    options, paths = parse(argv[1:], "U force-share backing-chain", "output f")
    try:
        found = host.files.stat(host.path(paths[0]))
    except OSError as error:
        return Output(1, "", f"qemu-img: Could not open '{paths[0]}': Could not open '{paths[0]}': {strerror(error)}\n")
    facts = found.get("facts") or {}
    form, virtual = str(facts.get("format", "raw")), int(facts.get("virtual_size") or found["size"])
    document = {
        "virtual-size": virtual,
        "filename": paths[0],
        "format": form,
        "actual-size": found["size"],
        "dirty-flag": False,
    }
    if form == "qcow2":
        document["cluster-size"] = 65536
    if options.get("output") == "json":
        return Output(0, json.dumps(document, indent=4) + "\n")
    told = f"image: {paths[0]}\nfile format: {form}\nvirtual size: {virtual / (1 << 30):.3g} GiB ({virtual} bytes)\n"
    return Output(0, told)


PROGRAMS = {"virt-customize": virt_customize, "qemu-img": qemu_img}
SOURCES = dict.fromkeys(PROGRAMS, belief("what virt-customize and qemu-img print and need"))
