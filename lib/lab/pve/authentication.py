"""Own who a request comes from: API tokens in the Authorization header, tickets in the cookie, the CSRF token."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from urllib.parse import unquote

from lib.lab.pve.answers import unauthorized
from lib.lab.pve.api import Api, anonymous_allowed
from lib.lab.pve.rights import major
from lib.lab.pve.tokens import csrf_is_valid, ticket_user
from lib.lab.pve.users import digest

NOBODY = ""
_TOKEN = re.compile(r"PVEAPIToken=([^\s:/!]+@[A-Za-z][\w.-]+![A-Za-z][\w.-]+)[=:](\S+)")


def identify(
    api: Api, node: str, method: str, path: str, headers: Mapping[str, str], cookies: Mapping[str, str]
) -> str:
    """Return the identity that a request proves; the empty one where none is needed.

    Raises:
        Refusal: a 401, with the real reason phrase and no body.
    """
    if anonymous_allowed(method, path):
        return NOBODY
    authorization = headers.get("Authorization", "")
    if authorization.startswith("PVEAPIToken"):
        return _of_token(api, node, authorization)
    ticket = unquote(cookies.get("PVEAuthCookie", "")) or authorization.removeprefix("PVEAuthCookie=")
    if not ticket:
        raise unauthorized("No ticket")
    user = ticket_user(api.ticket_key, ticket, api.clock())
    if user is None or not _is_active(api, node, user):
        raise unauthorized("permission denied - invalid PVE ticket")
    if method != "GET" and not csrf_is_valid(api.ticket_key, user, headers.get("CSRFPreventionToken", "")):
        raise unauthorized("Permission denied - invalid csrf token")
    return user


def _of_token(api: Api, node: str, authorization: str) -> str:
    match = _TOKEN.fullmatch(authorization)
    why = "no tokenid specified" if match is None else _refused(api, node, *match.groups())
    if why:  # before 9 the reason was told
        raise unauthorized("Authentication failed!" if major(api.world) >= 9 else why)
    return match[1] if match else ""


def _refused(api: Api, node: str, identity: str, value: str) -> str:
    """Return why a token is refused, in the words of PVE::AccessControl's verify_token; empty if it is not."""
    userid, _, name = identity.partition("!")
    user, token = api.world.get("user", userid), api.world.get("token", identity)
    if user is None:
        return f"no such user ('{userid}')"
    if not user.get("enable", 1):
        return f"user '{userid}' is disabled"
    if _expired(api, node, user.get("expire", 0)):
        return f"user '{userid}' access expired"
    if token is None:
        return f"no such token '{name}' for user '{userid}'"
    if _expired(api, node, token.get("expire", 0)):
        return f"token '{name}' access expired"
    return "" if hmac.compare_digest(token["secret_sha256"], digest(value)) else "invalid token value!"


def _is_active(api: Api, node: str, userid: str) -> bool:
    user = api.world.get("user", userid)
    return user is not None and bool(user.get("enable", 1)) and not _expired(api, node, user.get("expire", 0))


def _expired(api: Api, node: str, moment: int) -> bool:
    return bool(moment) and moment < int(api.now(node))
