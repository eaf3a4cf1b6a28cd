"""Own the lab's control listener: loopback HTTP; status and faults behind a secret, the status page for a browser."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from lib.lab.faults import Faults

PAGE = "/lab"
# A page of somebody else's may name this listener by a name of its own (DNS rebinding): browsers say so here.
NAMES = ("127.0.0.1", "localhost")
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
POLICY = "default-src 'none'; style-src 'nonce-{}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class Control:
    """What the listener may do to the lab, as functions of the one who composed it."""

    status: Callable[[], dict[str, Any]]
    page: Callable[[str], str]
    faults: Faults
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)


def make_app(control: Control) -> web.Application:
    """Make the application; every request but for the page carries `Authorization: Bearer SECRET`."""

    @web.middleware
    async def guarded(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.host.partition(":")[0] not in NAMES:
            raise web.HTTPForbidden
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.path != PAGE and not hmac.compare_digest(given.encode(), control.secret.encode()):
            raise web.HTTPUnauthorized
        response: web.StreamResponse = await handler(request)
        return response

    async def status(_: web.Request) -> web.Response:
        return web.json_response(control.status())

    async def page(_: web.Request) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        headers = HEADERS | {"Content-Security-Policy": POLICY.format(nonce)}
        return web.Response(text=control.page(nonce), content_type="text/html", headers=headers)

    async def fault(request: web.Request) -> web.Response:
        body = await request.json()
        try:
            control.faults.add(str(body["kind"]), str(body.get("match") or ""), int(body.get("times", 1)))
        except ValueError as error:
            return web.json_response({"problem": str(error)}, status=400)
        return web.json_response({})

    async def clear(_: web.Request) -> web.Response:
        control.faults.clear()
        return web.json_response({})

    app = web.Application(middlewares=[guarded])
    app.add_routes(
        [
            web.get("/status", status),
            web.get(PAGE, page),
            web.post("/fault", fault),
            web.delete("/fault", clear),
        ]
    )
    return app
