"""Own what the simulated internet (`meta/lab`) answers to who asks for a URL: a file, or a status line."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from lib.lab.topology import reachable_names
from lib.lab.world import Document, World

NO_CONNECTION = "500 Can't connect to"  # how the client's own status line begins (libwww-perl)


def fetch(world: World, url: str) -> Document | str:
    """Return the file at the URL, or the status line that a client has in its place."""
    internet = world.lab.get("internet", {})
    found: Document | None = internet.get(url)
    if found is not None:
        return str(found["answer"]) if "answer" in found else found
    parts = urlsplit(url)
    if parts.netloc in {urlsplit(each).netloc for each in internet}:
        return "404 Not Found"
    name = parts.hostname or ""
    why = "Connection refused" if name in reachable_names(world) or _is_address(name) else "Name or service not known"
    return f"{NO_CONNECTION} {name}:{parts.port or (80 if parts.scheme == 'http' else 443)} ({why})"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
