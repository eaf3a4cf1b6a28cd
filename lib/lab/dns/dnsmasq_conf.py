"""Own how dnsmasq reads its configuration, and what it complains of, as dnsmasq 2.90 does (src/option.c).

What is read is held as data; how questions are answered from it is in lib/lab/dns/dnsmasq.py.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable

import msgspec

from lib.lab.dns.answer import ConfigurationRefusedError
from lib.lab.dns.dnsmasq_options import EITHER, NOT_SIMULATED, NUMBERS, PLAIN, VALUED
from lib.lab.dns.texts import Texts

MAIN = "/etc/dnsmasq.conf"
HOSTS = "/etc/hosts"
LINE_BYTES = 1024  # a longer line is read as several
ESCAPES = {"t": "\t", "n": "\n", "b": "\b", "r": "\r", "e": "\033", '"': '"', "\\": "\\"}
HIDDEN = 0xE000  # what a quoted character is moved by, so that it means nothing but itself


class HostRecord(msgspec.Struct):
    """Names for one IPv4 and one IPv6 address; the first name of an address is its PTR."""

    names: list[str]
    four: str = ""
    six: str = ""
    ttl: int | None = None


class Server(msgspec.Struct, frozen=True):
    """A line of server=, local= or address= for one domain; `kind`: 4, 6, zero, resolv, upstream or local."""

    domain: str
    wildcard: bool
    kind: str
    value: str = ""


class Settings(msgspec.Struct):
    """What a configuration says about names."""

    hosts: list[HostRecord] = []
    aliases: dict[str, tuple[str, int | None]] = {}
    texts: list[tuple[str, list[str]]] = []
    services: list[tuple[str, str]] = []  # name and data
    pointers: list[tuple[str, str]] = []
    servers: list[Server] = []
    hosts_files: list[str] = []
    flags: set[str] = set()  # the options that were given
    local_ttl: int = 0
    domain: str = ""
    resolv_file: str = "/etc/resolv.conf"


class _LineError(Exception):
    """What is wrong with a line, in dnsmasq's words."""


def load(texts: Texts, conf_file: str = MAIN, folders: tuple[str, ...] = ()) -> Settings:
    """Read the configuration: a file, and folders named on the command line as `path,filter…`.

    Raises:
        ConfigurationRefusedError: dnsmasq would not start with it.
    """
    settings = Settings()
    reader = _Reader(texts, settings)
    if conf_file:
        reader.file(conf_file, needed=conf_file != MAIN)
    for folder in folders:
        reader.folder(folder)
    _check_aliases(settings)
    return settings


def _check_aliases(settings: Settings) -> None:
    for alias in reversed(settings.aliases):
        seen, name = {alias}, settings.aliases[alias][0]
        while name in settings.aliases and name not in seen:
            seen.add(name)
            name = settings.aliases[name][0]
        if name == alias:
            raise ConfigurationRefusedError(f"CNAME loop involving {alias}")


class _Reader:
    def __init__(self, texts: Texts, settings: Settings) -> None:
        self._texts = texts
        self._settings = settings
        self._depth = 0

    def file(self, path: str, needed: bool = True) -> None:
        """Read a file, line by line."""
        try:
            text = self._texts.read(path)
        except OSError as error:
            if not needed:
                return
            raise ConfigurationRefusedError(f"cannot read {path}: {error.strerror}", 3) from None
        if self._depth > 10:  # it reads itself
            raise ConfigurationRefusedError(f"files nested too deep in {path}")
        self._depth += 1
        pieces = (
            line[at : at + LINE_BYTES] for line in text.splitlines() for at in range(0, len(line), LINE_BYTES) or [0]
        )
        for number, piece in enumerate(pieces, 1):
            try:
                self._line(piece)
            except _LineError as error:
                raise ConfigurationRefusedError(f"{error} at line {number} of {path}") from None
        self._depth -= 1

    def folder(self, value: str) -> None:
        """Read the files of a folder: all but `.x`, `x~`, `#x#`, and what the filters leave out or do not want."""
        path, *filters = [part.strip() for part in value.split(",")]
        wanted = tuple(each[1:] for each in filters if each.startswith("*") and len(each) > 1)
        skipped = tuple(each for each in filters if each and not each.startswith("*"))
        try:
            found = self._texts.files_in(path)
        except OSError as error:
            raise ConfigurationRefusedError(f"cannot access directory {path}: {error.strerror}", 3) from None
        for each in found:
            name = posixpath.basename(each)
            hidden = name.startswith(".") or name.endswith("~") or (name.startswith("#") and name.endswith("#"))
            if not hidden and not _ends(name, skipped) and (not wanted or _ends(name, wanted)):
                self.file(each)

    def _line(self, line: str) -> None:
        words = _uncommented(line)
        if not words:
            return
        name, given, value = words.partition("=")
        name, value = name.rstrip(" "), value.lstrip(" ")
        if name not in PLAIN | VALUED | EITHER:
            raise _LineError("bad option")
        if name in PLAIN and given:
            raise _LineError("extraneous parameter")
        if name in VALUED and not given:
            raise _LineError("missing parameter")
        if name in NOT_SIMULATED:
            raise _LineError(f"{name} is not simulated by the lab")
        if name in NUMBERS and not value.isdigit():
            raise _LineError("error")
        if name in NUMBERS & self._settings.flags:
            raise _LineError("illegal repeated keyword")
        if name == "conf-file":
            self.file(plain(value))
        elif name == "conf-dir":
            self.folder(plain(value))
        elif name in OPTIONS:
            OPTIONS[name](self._settings, value)
        self._settings.flags.add(name)


def _ends(name: str, filters: tuple[str, ...]) -> bool:
    """Tell whether a name has one of these ends, and something before it: a filter is never a whole name."""
    return any(name.endswith(end) and len(name) > len(end) for end in filters)


def _uncommented(line: str) -> str:
    """Return a line without comment and blanks at its ends; what is quoted is hidden from what splits it."""
    out, at, white = "", 0, True
    while at < len(line):
        character = line[at]
        if character == '"':
            at += 1
            while at < len(line) and line[at] != '"':
                if line[at] == "\\" and line[at + 1 : at + 2] in ESCAPES:
                    at += 1
                    out += chr(HIDDEN + ord(ESCAPES[line[at]]))
                else:
                    out += chr(HIDDEN + ord(line[at]))
                at += 1
            if at == len(line):
                raise _LineError('missing "')
            white = False
        elif character.isspace():
            out += " "
            white = True
        elif white and character == "#":
            break
        else:
            out += character
            white = False
        at += 1
    return out.strip(" ")


def plain(text: str) -> str:
    """Return a text with what was quoted in it."""
    return "".join(chr(ord(each) - HIDDEN) if HIDDEN <= ord(each) < HIDDEN + 256 else each for each in text)


def _split(value: str) -> list[str]:
    return [part.strip(" ") for part in value.split(",")]


def _name(text: str) -> str:
    return plain(text).rstrip(".").lower()


def _host_record(settings: Settings, value: str) -> None:
    if "," not in value:
        raise _LineError("Bad host-record")
    record = HostRecord([])
    for word in _split(value):
        word = plain(word)
        if re.fullmatch(r"\d*", word):
            record.ttl = int(word or 0)
        elif _is_address(word, 4):
            record.four = word
        elif _is_address(word, 6):
            record.six = str(ipaddress.IPv6Address(word))
        else:
            record.names.append(_name(word))
    settings.hosts.append(record)


def _is_address(word: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(word).version == version
    except ValueError:
        return False


def _cname(settings: Settings, value: str) -> None:
    words = _split(value)
    ttl = None
    if len(words) > 2 and words[-1].isdigit():
        ttl = int(words.pop())
    if len(words) < 2 or not all(words):
        raise _LineError("bad CNAME")
    *aliases, target = map(_name, words)
    for alias in aliases:
        if alias in settings.aliases:
            raise _LineError("duplicate CNAME")
        settings.aliases[alias] = (target, ttl)


def _text(settings: Settings, value: str) -> None:
    name, *pieces = _split(value)
    if any(len(plain(piece)) > 255 for piece in pieces):
        raise _LineError("TXT record string too long")
    settings.texts.append((_name(name), [plain(piece) for piece in pieces] or [""]))


def _service(settings: Settings, value: str) -> None:
    name, target, *numbers = [*_split(value), ""][: max(2, value.count(",") + 1)]
    found = []
    for word, what in zip(numbers, ("port number", "priority", "weight"), strict=False):
        if not word.isdigit() or int(word) > 65535:
            raise _LineError(f"invalid {what}")
        found.append(int(word))
    port, priority, weight = found + [1, 0, 0][len(found) :]
    settings.services.append((_name(name), f"{priority} {weight} {port} {_name(target)}."))


def _pointer(settings: Settings, value: str) -> None:
    name, target = [*_split(value), ""][:2]
    settings.pointers.append((_name(name), _name(target)))


def _server(kind_of: Callable[[str], tuple[str, str]]) -> Callable[[Settings, str], None]:
    """Return what reads `[/domain/…/]value`; `kind_of` tells what the value is."""

    def read(settings: Settings, value: str) -> None:
        *domains, last = plain(value).split("/")
        kind, said = kind_of(last) if last else ("local", "")
        for domain in domains[1:] or ["#"]:
            if not domain:
                raise _LineError("// (names without a dot) is not simulated by the lab")
            bare = "" if domain == "#" else domain.lstrip(".").rstrip(".").lower()
            star = bare.startswith("*") and bare != "*"
            settings.servers.append(Server(bare.removeprefix("*"), star, kind, said))

    return read


def _address_kind(word: str) -> tuple[str, str]:
    if word == "#":
        return "zero", ""
    if not _is_address(word, 4) and not _is_address(word, 6):
        raise _LineError("Bad address in --address")
    return str(ipaddress.ip_address(word).version), str(ipaddress.ip_address(word))


def _upstream_kind(word: str) -> tuple[str, str]:
    if word == "#":
        return "resolv", ""
    address = re.split(r"[#@]", word)[0]
    if not _is_address(address, 4) and not _is_address(address, 6):
        raise _LineError("Name or service not known")
    return "upstream", address


def _set(attribute: str, read: Callable[[str], object]) -> Callable[[Settings, str], None]:
    return lambda settings, value: setattr(settings, attribute, read(value))


def _domain(settings: Settings, value: str) -> None:
    if "," not in value:  # one for a range of addresses is for DHCP alone
        settings.domain = _name(value)


OPTIONS: dict[str, Callable[[Settings, str], None]] = {
    "host-record": _host_record,
    "cname": _cname,
    "txt-record": _text,
    "srv-host": _service,
    "ptr-record": _pointer,
    "address": _server(_address_kind),
    "server": _server(_upstream_kind),
    "local": _server(_upstream_kind),
    "local-ttl": _set("local_ttl", int),
    "domain": _domain,
    "resolv-file": _set("resolv_file", plain),
    "addn-hosts": lambda settings, value: settings.hosts_files.append(plain(value)),
}
