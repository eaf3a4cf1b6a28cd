"""Own second factors of users (API: /access/tfa): nobody here has one, and none can be enrolled."""

from __future__ import annotations

from typing import Any

from lib.lab.provenance import SCHEMA
from lib.lab.pve.answers import Refusal, failure
from lib.lab.pve.call import Call, Route, either
from lib.lab.pve.checks import found_user
from lib.lab.pve.readings import reading
from lib.lab.pve.realms import realms
from lib.lab.pve.users import oneself, over_user


def get_factor(call: Call) -> dict[str, Any]:
    """GET /access/tfa/{userid}/{id}."""
    raise Refusal(404, f"No such tfa entry '{call['id']}'")


def delete_factor(call: Call) -> None:
    """DELETE /access/tfa/{userid}/{id}."""
    found_user(call)
    raise failure(f"no such tfa entry '{call['id']}'")


def types(call: Call) -> dict[str, Any]:
    """GET /access/users/{userid}/tfa: the kinds of factors that a user has; root may ask of whom there is not."""
    realm = call["userid"].rpartition("@")[2]
    if realm not in realms(call.world):
        raise failure(f"auth domain '{realm}' does not exist")
    return {"user": []} if call.get("multiple") else {}


def unlock(call: Call) -> int:
    """PUT /access/users/{userid}/unlock-tfa: whether there was something to unlock."""
    found_user(call)
    return 0


_USER = "userid:userid<..64>"
_SEE = either(oneself, over_user("User.Modify", "Sys.Audit"))
ROUTES = (
    reading("/access/tfa", [], SCHEMA),
    reading("/access/tfa/{userid}", [], SCHEMA, _SEE, _USER),
    reading("/access/tfa/{userid}/{id}", get_factor, SCHEMA, _SEE, f"{_USER} id:str"),
    Route(
        "DELETE",
        "/access/tfa/{userid}/{id}",
        delete_factor,
        either(oneself, over_user("User.Modify")),
        f"{_USER} id:str password?:str<5..64>",
        tokens_allowed=False,
        by=SCHEMA,
    ),
    Route("GET", "/access/users/{userid}/tfa", types, _SEE, f"{_USER} multiple?:bool", by=SCHEMA),
    Route("PUT", "/access/users/{userid}/unlock-tfa", unlock, over_user("User.Modify"), _USER, by=SCHEMA),
)
