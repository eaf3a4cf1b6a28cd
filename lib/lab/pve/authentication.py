"""Own who a request comes from: API tokens in the Authorization header, tickets in the cookie, the CSRF token."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from urllib.parse import unquote

from lib.lab.pve.answers import Refusal, unauthorized
from lib.lab.pve.api import Api, anonymous_allowed, needs_ticket
from lib.lab.pve.rights import Rights, major
from lib.lab.pve.tokens import csrf_is_valid, ticket_user
from lib.lab.pve.users import digest

NOBODY = ""
_UPLOAD = re.compile(r"/nodes/[^/]+/storage/([^/]+)/upload")
_TEMPLATES = "Datastore.AllocateTemplate"
_TOKEN = re.compile(r"[^\s:/]+@[A-Za-z][\w.-]+![A-Za-z][\w.-]+")


def identify(
    api: Api, node: str, method: str, path: str, headers: Mapping[str, str], cookies: Mapping[str, str]
) -> str:
    """Return the identity that a request proves; the empty one where none is needed.

    Raises:
        Refusal: a 401, with the real reason phrase and no body.
    """
    authorization = headers.get("Authorization", "")
    ticket = unquote(cookies.get("PVEAuthCookie", "")) or _stated(authorization, "PVEAuthCookie")
    by_token = "" if ticket else _stated(authorization, "PVEAPIToken")
    if anonymous_allowed(method, path):
        if by_token and method == "POST":  # nobody looks whose token it is
            raise needs_ticket(path)
        return NOBODY
    user = _of_token(api, node, by_token) if by_token else _of_ticket(api, node, ticket)
    if method == "POST" and (upload := _UPLOAD.fullmatch(path)):
        _need_upload(api, user, f"/storage/{upload[1]}")
        return user
    token = headers.get("CSRFPreventionToken", "")
    if method != "GET" and not by_token and not csrf_is_valid(api.ticket_key, user, token):
        raise unauthorized("Permission denied - invalid csrf token")
    return user


def _stated(header: str, key: str) -> str:
    """Return what a header says of a key, as PVE::APIServer::Formatter reads it (extract_auth_value)."""
    match = re.search(rf"(?:^|\s){key}[= ]([^;]*)", header)
    return unquote(match[1]) if match else ""


def _need_upload(api: Api, user: str, storage: str) -> None:
    """Refuse at the door who may not upload: before the file is read, and in place of the CSRF token."""
    if not Rights(api.world).may(user, storage, (_TEMPLATES,)):
        raise Refusal(403, f"Permission check failed ({storage}, {_TEMPLATES})", bodiless=True)


def _of_ticket(api: Api, node: str, ticket: str) -> str:
    if not ticket:
        raise unauthorized("No ticket")
    user = ticket_user(api.ticket_key, ticket, api.clock())
    if user is None:
        raise unauthorized("permission denied - invalid PVE ticket")
    if why := _inactive(api, node, user):
        raise unauthorized(why)
    return user


def _of_token(api: Api, node: str, given: str) -> str:
    identity, sign, value = given.rpartition("=")
    if not sign:
        why = "no tokenid specified"
    elif not _TOKEN.fullmatch(identity):
        why = f"'{identity}' is not a valid token ID - not able to split into user and token parts"
    else:
        why = _refused(api, node, identity, value)
    if why:  # before 9 the reason was told
        raise unauthorized("Authentication failed!" if major(api.world) >= 9 else why)
    return identity


def _refused(api: Api, node: str, identity: str, value: str) -> str:
    """Return why a token is refused, in the words of PVE::AccessControl's verify_token; empty if it is not."""
    userid, _, name = identity.partition("!")
    token = api.world.get("token", identity)
    if why := _inactive(api, node, userid):
        return why
    if token is None:
        return f"no such token '{name}' for user '{userid}'"
    if _expired(api, node, token.get("expire", 0)):
        return f"token '{name}' access expired"
    return "" if hmac.compare_digest(token["secret_sha256"], digest(value)) else "invalid token value!"


def _inactive(api: Api, node: str, userid: str) -> str:
    """Return why a user may not come in, in the words of check_user_enabled; empty if he may."""
    user = api.world.get("user", userid)
    if user is None:
        return f"no such user ('{userid}')"
    if not user.get("enable", 1):
        return f"user '{userid}' is disabled"
    return f"user '{userid}' access expired" if _expired(api, node, user.get("expire", 0)) else ""


def _expired(api: Api, node: str, moment: int) -> bool:
    return bool(moment) and moment < int(api.now(node))
