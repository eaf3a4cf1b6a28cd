"""Own the HTTPS side of one node's API: requests in, answers with real reason phrases out, faults, the journal."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, unquote

from aiohttp import BodyPartReader, web

from lib.lab import faults as fault
from lib.lab import perverse
from lib.lab.faults import Faults
from lib.lab.files import Files
from lib.lab.journal import Journal
from lib.lab.pve import cluster
from lib.lab.pve.answers import Answer, Refusal, failure
from lib.lab.pve.api import Api
from lib.lab.pve.authentication import identify

PREFIXES = ("/api2/json", "/api2/extjs")
METHODS = ("GET", "POST", "PUT", "DELETE")
FORMS = ("", "application/x-www-form-urlencoded", "application/json")
UNANSWERED_SECONDS = 3600.0
UPLOAD_BYTES = 8 << 30


def respond(
    api: Api,
    node: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    cookies: Mapping[str, str],
    params: Mapping[str, Any],
) -> tuple[str, Answer]:
    """Authenticate and carry out one request; return who it was and the answer."""
    try:
        identity = admit(api, node, method, path, headers, cookies)
    except Refusal as refusal:
        return "", refusal.answer()
    return identity, api.call(identity, method, path, params, node)


def admit(api: Api, node: str, method: str, path: str, headers: Mapping[str, str], cookies: Mapping[str, str]) -> str:
    """Return whose request it is, by its head alone: nothing has been read of its body.

    Raises:
        Refusal: where the server does not speak so, or does not let him in.
    """
    if method not in METHODS:
        raise Refusal(501, f"method '{method}' not available", bodiless=True)
    if encoding := headers.get("Transfer-Encoding"):
        known = encoding.lower() == "chunked"
        told = "chunked transfer encoding not supported" if known else f"Unknown transfer encoding '{encoding}'"
        raise Refusal(501, told, bodiless=True)
    return identify(api, node, method, path, headers, cookies)


def make_app(api: Api, node: str, journal: Journal, faults: Faults) -> web.Application:
    """Make the application that listens for one node."""
    seeded = perverse.of(api.world)

    async def handle(request: web.Request) -> web.StreamResponse:
        began = time.monotonic()
        path = _path(request)
        if path is None:
            is_api = request.path.startswith("/api2")
            return web.Response(status=501, reason="no such uri" if is_api else f"no such file '{request.path}'")
        subject = f"{node} {request.method} {path}"
        if not cluster.is_reached(api.world, node) or await _is_cut(faults, subject):
            return _cut(request)
        params: dict[str, Any] = {}
        user, answer = "", _asked_for(faults, subject)
        mischief = seeded.request(node, request.method, path) if seeded is not None else None
        try:
            if answer is None:
                user = admit(api, node, request.method, path, request.headers, request.cookies)
            params = await _params(request, api, node)
        except Refusal as refusal:
            answer = answer or refusal.answer()
        except ConnectionResetError:  # whoever asked is gone
            return _cut(request)
        if answer is None:
            answer = api.call(user, request.method, path, params, node)
            answer = mischief.twist(answer) if mischief is not None else answer
        if mischief is not None:
            await asyncio.sleep(mischief.delay)
        lost = faults.take("reset", f"{subject} (after)") or (mischief is not None and mischief.loses(answer))
        journal.write(
            "api",
            node=node,
            user=user,
            method=request.method,
            path=path,
            params=params,
            status=answer.status,
            task=answer.upid,
            ms=round((time.monotonic() - began) * 1000, 2),
            **({"lost": True} if lost else {}),
        )
        if lost:
            return _cut(request)
        return _response(_for_ext_js(answer) if request.path.startswith("/api2/extjs") else answer, api.now(node))

    app = web.Application(client_max_size=UPLOAD_BYTES)
    app.router.add_route("*", "/{anything:.*}", handle)
    return app


def _path(request: web.Request) -> str | None:
    """Return the API path, decoded as a whole: an encoded slash in a volume id counts as one."""
    path = unquote(request.raw_path.partition("?")[0])
    for prefix in PREFIXES:
        if path == prefix or path.startswith(prefix + "/"):
            return path.removeprefix(prefix).rstrip("/") or "/"
    return None


async def _is_cut(faults: Faults, subject: str) -> bool:
    """Tell whether a fault cuts the connection; wait first where it lets nobody answer, or is slow."""
    if faults.take("reset", subject):
        return True
    if faults.take("timeout", subject):
        await asyncio.sleep(UNANSWERED_SECONDS)
        return True
    if faults.take("slow", subject):
        await asyncio.sleep(fault.SLOW_SECONDS)
    return False


def _asked_for(faults: Faults, subject: str) -> Answer | None:
    if faults.take("500", subject):
        return Refusal(500, "got no worker upid - start worker failed (a fault of the lab)").answer()
    if faults.take("595", subject):
        return Refusal(595, "Connection refused", bodiless=True).answer()
    if faults.take("401", subject):
        return Refusal(401, "permission denied - invalid PVE ticket", bodiless=True).answer()
    return None


def _cut(request: web.Request) -> web.StreamResponse:
    """Break the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _for_ext_js(answer: Answer) -> Answer:
    """Return an answer in the form that the web interface asks for: whatever it says, it is a success of HTTP."""
    if answer.body is None:  # not let in
        return answer
    if answer.status < 400:
        return Answer(answer.status, answer.reason, answer.body | {"success": 1}, answer.upid)
    return Answer(200, "OK", answer.body | {"status": answer.status, "success": 0}, answer.upid)


def _response(answer: Answer, now: float) -> web.Response:
    text = "" if answer.body is None else json.dumps(answer.body, ensure_ascii=False)
    kind = "application/json" if answer.body is not None else "text/plain"
    return web.Response(
        status=answer.status,
        reason=answer.reason.replace("\r", " "),
        text=text,
        content_type=kind,
        charset="utf-8",
        headers={
            "Cache-Control": "max-age=0",
            "Date": formatdate(now, usegmt=True),
            "Server": "pve-api-daemon/3.0",
        },
    )


async def _params(request: web.Request, api: Api, node: str) -> dict[str, Any]:
    """Return the parameters of body and query; `_dc` is the web interface's way round caches, and none."""
    found = await _of_body(request, api, node) if request.content_length else {}
    for name in request.query:
        found[name] = "\0".join(request.query.getall(name))
    found.pop("_dc", None)
    return found


async def _of_body(request: web.Request, api: Api, node: str) -> dict[str, Any]:
    if request.method not in ("POST", "PUT"):
        raise Refusal(501, f"Unexpected content for method '{request.method}'", bodiless=True)
    stated = request.headers.get("Content-Type", "")
    kind = stated.partition(";")[0].strip()
    if kind == "multipart/form-data" and request.path.endswith("/upload"):
        return await _upload(request, api, node)
    if kind not in FORMS:
        raise Refusal(506, f"upload 'Content-Type '{stated}' not implemented", bodiless=True)
    text = await request.text()
    if kind == "application/json":
        return _of_json(text)
    found: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        found[name] = f"{found[name]}\0{value}" if name in found else value
    return found


def _of_json(text: str) -> dict[str, Any]:
    """Return the parameters in a JSON body; what is null there is not given."""
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise Refusal(501, "malformed JSON string, neither tag, array, object, number, string or atom", bodiless=True)
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, list):
        return "\0".join(_plain(item) for item in value)
    return str(value)


async def _upload(request: web.Request, api: Api, node: str) -> dict[str, Any]:
    """Take a file upload: the file lies on the node under a temporary name, as in reality."""
    found: dict[str, Any] = {}
    files = Files(api.world, node)
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or not part.name:
            continue
        name = part.name
        data = bytes(await part.read(decode=False))
        if name != "filename" or part.filename is None:
            found[name] = data.decode()
            continue
        temporary = f"/var/tmp/pveupload-{secrets.token_hex(16)}"
        try:
            files.mkdir("/var/tmp", parents=True)
            files.write(temporary, data)
        except OSError as error:
            raise failure(f"write '{temporary}' failed - {error.strerror}") from None
        found |= {"filename": part.filename, "tmpfilename": temporary}
    return found
