"""Own the programs of a name server: dnsmasq (--test), named-checkconf, named-checkzone, rndc.

What they check is lib/lab/dns/; which of them a host has depends on its packages.
"""

from __future__ import annotations

import posixpath

from lib.lab.dns import service
from lib.lab.dns.answer import ConfigurationRefusedError
from lib.lab.dns.texts import Texts
from lib.lab.programs.arguments import BadOptionError, parse
from lib.lab.programs.host import Host, Output
from lib.lab.provenance import TOOL, belief


def dnsmasq(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Check the configuration (--test); without that, fail as a second dnsmasq does."""
    from lib.lab.dns import dnsmasq_conf

    folders = [word.partition("=")[2] for word in argv if word.startswith("--conf-dir=")]
    words = [word for word in argv if not word.startswith("--conf-dir=")]
    try:
        options, rest = parse(words, "test v version", "C conf-file 7")
    except BadOptionError:
        return Output(1, "", "\ndnsmasq: bad command line options: try --help\n")
    folders += [options["7"]] if "7" in options else []
    if rest:
        return Output(1, "", "\ndnsmasq: junk found in command line\n")
    if {"v", "version"} & set(options):
        return Output(0, "Dnsmasq version 2.90  Copyright (c) 2000-2024 Simon Kelley\n")
    main = options.get("conf-file", options.get("C", dnsmasq_conf.MAIN))
    try:
        dnsmasq_conf.load(Texts(host.files), host.path(main) if main else "", tuple(folders))
    except ConfigurationRefusedError as error:
        return Output(error.exit, "", f"\ndnsmasq: {error}\n")
    if "test" in options:
        return Output(0, "", "dnsmasq: syntax check OK.\n")
    return Output(2, "", "\ndnsmasq: failed to create listening socket for port 53: Address already in use\n")


def named_checkconf(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Check named.conf; -p prints it, -x hides secrets, -z loads the zones."""
    from lib.lab.dns import bind_conf, bind_zone

    options, rest = parse(argv, "p x z j v", "t")
    try:
        found = bind_conf.load(Texts(host.files), host.path(rest[0]) if rest else bind_conf.MAIN)
    except ConfigurationRefusedError as error:
        return Output(1, "", f"{error}\n")
    out, bad = "", False
    for zone in found.zones if "z" in options else ():
        try:
            loaded = bind_zone.load(Texts(host.files), zone.name, zone.file, found.folder)
            out += f"zone {zone.name}/IN: loaded serial {loaded.serial}\n"
        except bind_zone.ZoneRefusedError as error:
            out, bad = out + str(error), True
    if "p" in options:
        out += bind_conf.canonical(found, "x" in options)
    return Output(1 if bad else 0, out)


def named_checkzone(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Check one zone file."""
    from lib.lab.dns import bind_zone

    options, rest = parse(argv, "q j", "i k m n f F w")
    if len(rest) != 2:
        return Output(1, "", "usage: named-checkzone [options] zonename [filename]\n")
    name = rest[0].rstrip(".").lower()
    try:
        zone = bind_zone.load(Texts(host.files), name, rest[1], options.get("w", host.cwd), options.get("k") == "fail")
    except bind_zone.ZoneRefusedError as error:
        return Output(1, "" if "q" in options else str(error))
    return Output(0, "" if "q" in options else f"zone {name}/IN: loaded serial {zone.serial}\nOK\n")


def rndc(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Let the running BIND do something: reload, reconfig, status."""
    _, words = parse(argv, "q r", "s p k c")
    if not service.is_running(host.world, host.node):
        return Output(1, "", "rndc: connect failed: 127.0.0.1#953: connection refused\n")
    if words[:1] == ["status"]:
        return Output(0, "server is up and running\n")
    if words[:1] not in (["reload"], ["reconfig"]):
        return Output(1, "", f"rndc: '{' '.join(words)}' failed: unknown command\n")
    problem = service.reload(host)
    if problem:
        return Output(1, "", f"rndc: '{words[0]}' failed: failure\n")
    return Output(
        0, "" if words[0] == "reconfig" else "server reload successful\n" if len(words) == 1 else "zone reload queued\n"
    )


def service_(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Run `service NAME VERB`, which hands it to systemctl."""
    from lib.lab.programs import systemd

    if len(argv) != 2:
        return Output(
            1, "", "Usage: service < option > | --status-all | [ service_name [ command | --full-restart ] ]\n"
        )
    return systemd.systemctl(host, [argv[1], argv[0]], b"")


def has_init_script(host: Host, path: str) -> bool:
    """Tell whether the path is the init script of the host's name service."""
    unit = service.unit_of(host)
    return unit is not None and path == f"/etc/init.d/{unit.removesuffix('.service')}"


def init_script(host: Host, path: str, argv: list[str]) -> Output | None:
    """Run `/etc/init.d/NAME VERB`, where the host has such a service; it says whom it hands it to."""
    if not has_init_script(host, path):
        return None
    name = posixpath.basename(path)
    done = service_(host, [name, *argv], b"")
    verb = {"restart": "Restarting", "reload": "Reloading", "start": "Starting", "stop": "Stopping"}.get(
        (argv or [""])[0]
    )
    told = f"{verb} {name} (via systemctl): {name}.service.\n" if verb and not done.exit else str(done.stdout)
    return Output(done.exit, told, done.stderr, done.seconds)


PROGRAMS = {
    "dnsmasq": dnsmasq, "named-checkconf": named_checkconf, "named-checkzone": named_checkzone, "rndc": rndc,
    "service": service_,
}  # fmt: skip
SOURCES = {
    "dnsmasq": TOOL,
    "named-checkconf": TOOL,
    "named-checkzone": TOOL,
    "rndc": belief("what rndc and service print, and how they end"),
    "service": belief("what rndc and service print, and how they end"),
}
