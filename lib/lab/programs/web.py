"""Own wget and curl: they reach the simulated internet (`meta/lab`) and nothing else."""

from __future__ import annotations

import posixpath
from urllib.parse import urlsplit

from lib.lab.internet import fetch
from lib.lab.programs.arguments import parse
from lib.lab.programs.host import Host, Output
from lib.lab.programs.network import lookup
from lib.lab.provenance import TOOL
from lib.lab.world import Document

SPEED = 50e6  # bytes a second


def _fetch(host: Host, url: str) -> Document | str | None:
    """Return what is at the URL, None for 404, or what went wrong before."""
    name = urlsplit(url).hostname or ""
    if not lookup(host, name):
        return "name"
    found = fetch(host.world, url)
    return None if isinstance(found, str) else found


def _keep(host: Host, path: str, found: Document) -> None:
    if found.get("text") is not None:
        host.files.write(host.path(path), found["text"].encode())
    else:
        host.files.put_synthetic(host.path(path), found["size"], found["sha256"], found.get("facts"))


def wget(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Fetch a URL to a file, or to standard output with -O -."""
    options, urls = parse(argv, "q quiet nv no-verbose c N S spider", "O output-document timeout tries T t P")
    url = urls[0]
    found = _fetch(host, url)
    quiet = "q" in options or "quiet" in options
    if isinstance(found, str):
        name = urlsplit(url).hostname
        return Output(4, "", "" if quiet else f"wget: unable to resolve host address '{name}'\n", seconds=0.5)
    if found is None:
        return Output(8, "", "" if quiet else "ERROR 404: Not Found.\n", seconds=0.3)
    target = options.get("O", options.get("output-document", posixpath.basename(urlsplit(url).path)))
    seconds = 0.3 + found["size"] / SPEED
    if target == "-":
        return Output(0, found.get("text") or b"", seconds=seconds)
    try:
        _keep(host, target, found)
    except OSError as error:
        return Output(1, "", f"{target}: {error.strerror}\n")
    return Output(seconds=seconds)


def curl(host: Host, argv: list[str], stdin: bytes) -> Output:
    """Fetch a URL to standard output, or to a file with -o."""
    flags = "f fail s silent S show-error L location I head k insecure"
    options, urls = parse(argv, flags, "o output m max-time connect-timeout retry")
    url = urls[0]
    found = _fetch(host, url)
    told = "s" not in options or "S" in options
    if isinstance(found, str):
        return Output(
            6, "", f"curl: (6) Could not resolve host: {urlsplit(url).hostname}\n" if told else "", seconds=0.5
        )
    if found is None:
        if "f" not in options and "fail" not in options:
            return Output(0, "404: Not Found\n", seconds=0.3)
        return Output(22, "", "curl: (22) The requested URL returned error: 404\n" if told else "", seconds=0.3)
    target = options.get("o", options.get("output", ""))
    if "I" in options or "head" in options:
        return Output(0, f"HTTP/1.1 200 OK\r\nContent-Length: {found['size']}\r\n\r\n", seconds=0.3)
    if not target:
        return Output(0, found.get("text") or b"", seconds=0.3)
    try:
        _keep(host, target, found)
    except OSError as error:
        words = f"curl: (23) Failure writing output to destination: {error.strerror}\n"
        return Output(23, "", words if told else "")
    return Output(seconds=0.3 + found["size"] / SPEED)


PROGRAMS = {"wget": wget, "curl": curl}
SOURCES = dict.fromkeys(PROGRAMS, TOOL)
