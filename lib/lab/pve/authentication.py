"""Own who a request comes from: API tokens in the Authorization header, tickets in the cookie, the CSRF token."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from urllib.parse import unquote

from lib.lab.pve.answers import unauthorized
from lib.lab.pve.api import Api, anonymous_allowed
from lib.lab.pve.tokens import csrf_is_valid, ticket_user
from lib.lab.pve.users import digest

NOBODY = ""
_TOKEN = re.compile(r"PVEAPIToken=([^\s:/!]+@[A-Za-z][\w.-]+![A-Za-z][\w.-]+)[=:](\S+)")


def identify(api: Api, method: str, path: str, headers: Mapping[str, str], cookies: Mapping[str, str]) -> str:
    """Return the identity that a request proves; the empty one where none is needed.

    Raises:
        Refusal: a 401, with the real reason phrase and no body.
    """
    authorization = headers.get("Authorization", "")
    if authorization.startswith("PVEAPIToken"):
        return _of_token(api, authorization)
    ticket = unquote(cookies.get("PVEAuthCookie", "")) or authorization.removeprefix("PVEAuthCookie=")
    if anonymous_allowed(method, path):
        return NOBODY
    if not ticket:
        raise unauthorized("No ticket")
    user = ticket_user(api.ticket_key, ticket, api.clock())
    if user is None or not _is_active(api, user):
        raise unauthorized("permission denied - invalid PVE ticket")
    if method != "GET" and not csrf_is_valid(api.ticket_key, user, headers.get("CSRFPreventionToken", "")):
        raise unauthorized("Permission denied - invalid csrf token")
    return user


def _of_token(api: Api, authorization: str) -> str:
    match = _TOKEN.fullmatch(authorization)
    if match is None:
        raise unauthorized("Authentication failed!")
    identity, value = match.groups()
    token = api.world.get("token", identity)
    if token is None or not _is_active(api, identity.partition("!")[0]) or _expired(api, token.get("expire", 0)):
        raise unauthorized("Authentication failed!")
    if not hmac.compare_digest(token["secret_sha256"], digest(value)):
        raise unauthorized("Authentication failed!")
    return identity


def _is_active(api: Api, userid: str) -> bool:
    user = api.world.get("user", userid)
    return user is not None and bool(user.get("enable", 1)) and not _expired(api, user.get("expire", 0))


def _expired(api: Api, moment: int) -> bool:
    return bool(moment) and moment < int(api.clock())
