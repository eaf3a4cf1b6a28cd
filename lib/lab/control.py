"""Own the lab's control listener: loopback HTTP, behind a secret, for status and faults."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from lib.lab.faults import Faults


@dataclass(frozen=True)
class Control:
    """What the listener may do to the lab, as functions of the one who composed it."""

    status: Callable[[], dict[str, Any]]
    faults: Faults
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)


def make_app(control: Control) -> web.Application:
    """Make the application; every request carries `Authorization: Bearer SECRET`."""

    @web.middleware
    async def guarded(request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), control.secret.encode()):
            raise web.HTTPUnauthorized
        response: web.StreamResponse = await handler(request)
        return response

    async def status(_: web.Request) -> web.Response:
        return web.json_response(control.status())

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
            web.post("/fault", fault),
            web.delete("/fault", clear),
        ]
    )
    return app
