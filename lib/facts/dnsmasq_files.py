"""Own which files a dnsmasq reads: from its main file to those that they name, in turn. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

HOSTS = "/etc/hosts"
DEBIAN = (".dpkg-dist", ".dpkg-old", ".dpkg-new")  # what Debian's own start leaves out of its folder
COMMENT = re.compile(r"(^|\s)#.*")


class Setting(NamedTuple):
    """A line of a configuration: key and value have no blanks around them, no quotes and no comment."""

    path: str
    line: str
    key: str
    value: str


class Read(msgspec.Struct):
    """What a dnsmasq reads: settings, lines as in /etc/hosts (path, text), and all files and folders that are named.

    `files` are those with settings; `folders` have such files: by path the ends of names that are left out (`.old`)
    or wanted (`*.conf`).
    """

    settings: list[Setting] = []
    hosts: list[tuple[str, str]] = []
    named: list[str] = []
    files: set[str] = set()
    folders: dict[str, tuple[str, ...]] = {}

    def values(self, *keys: str) -> list[str]:
        """Return what the settings say under these keys."""
        return [one.value for one in self.settings if one.key in keys]


def _setting(path: str, line: str) -> Setting:
    key, _, value = COMMENT.sub("", line).replace('"', "").partition("=")
    return Setting(path, line, key.strip(), value.strip())


def read_files(printed: str, main: str, folder: str) -> Read:
    """Return what is read of the lines that `grep -H` printed; a file's name has no colon.

    `folder` is read whoever says so: Debian's own start names it on the command line.
    """
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for row in printed.splitlines():
        path, _, line = row.partition(":")
        texts[path].append(line.strip())
    found = Read()
    _settings(found, texts, [main])
    if folder not in found.folders:
        _folder(found, texts, folder, DEBIAN)
    further = [value.rstrip("/") for value in found.values("addn-hosts", "hostsdir")]
    for path in [*([] if found.values("no-hosts") else [HOSTS]), *further]:
        for each in (path, *_inside(texts, path, ())):
            found.hosts += [(each, line) for line in texts.get(each, ())]
    found.named += further
    return found


def _settings(found: Read, texts: Mapping[str, Sequence[str]], paths: list[str]) -> None:
    for path in paths:
        if path in found.files:
            continue
        found.files.add(path)
        inside = [_setting(path, line) for line in texts.get(path, ()) if line and not line.startswith("#")]
        found.settings += inside
        for one in inside:
            if one.key == "conf-file":
                found.named.append(one.value)
                _settings(found, texts, [one.value])
            elif one.key == "conf-dir":
                folder, *ends = (part.strip() for part in one.value.split(","))
                _folder(found, texts, folder.rstrip("/"), tuple(filter(None, ends)))


def _folder(found: Read, texts: Mapping[str, Sequence[str]], folder: str, ends: tuple[str, ...]) -> None:
    found.named.append(folder)
    found.folders[folder] = ends
    _settings(found, texts, list(_inside(texts, folder, ends)))


def _inside(texts: Iterable[str], folder: str, ends: Sequence[str]) -> Iterator[str]:
    for path in texts:
        above, _, name = path.rpartition("/")
        if above == folder and takes(ends, name):
            yield path


def takes(ends: Sequence[str], name: str) -> bool:
    """Tell whether a file in a folder is read: none of `.x`, `x~`, `#x#`, and none that the ends leave out.

    An end is never a whole name.
    """
    left_out = [end for end in ends if not end.startswith("*") and name != end and name.endswith(end)]
    wanted = [end[1:] for end in ends if end.startswith("*")]
    hidden = name.startswith(".") or name.endswith("~") or (name.startswith("#") and name.endswith("#"))
    return not hidden and not left_out and (not wanted or any(name != end and name.endswith(end) for end in wanted))
