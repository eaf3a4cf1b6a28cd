"""One node's HTTPS side: identities, parameters in every form, faults, and what the journal says."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from lib.lab.faults import Faults
from lib.lab.journal import Journal
from lib.lab.pve.api import Api
from lib.lab.pve.http import make_app
from tests.lab.simulated import Simulated

Client = TestClient[Any, Any]
PASSWORD = "a long enough password"


def visit(simulated: Simulated, tmp_path: Path, visitor: Callable[[Client], Awaitable[None]]) -> list[dict[str, Any]]:
    """Let the visitor talk to node1; return what the journal says afterwards."""
    root = simulated.world.get("user", "root@pam") or {}
    simulated.world.put("user", "root@pam", root | {"password_sha256": hashlib.sha256(PASSWORD.encode()).hexdigest()})
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    app = make_app(Api(simulated.world), "node1", journal, Faults(simulated.world))

    async def run() -> None:
        async with TestClient(TestServer(app)) as client:
            await visitor(client)

    asyncio.run(run())
    journal.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


async def log_in(client: Client) -> dict[str, str]:
    answer = await client.post("/api2/json/access/ticket", data={"username": "root@pam", "password": PASSWORD})
    data = (await answer.json())["data"]
    return {"Cookie": f"PVEAuthCookie={data['ticket']}", "CSRFPreventionToken": data["CSRFPreventionToken"]}


def test_log_in_and_every_form_of_parameters(simulated: Simulated, tmp_path: Path) -> None:
    async def visitor(client: Client) -> None:
        headers = await log_in(client)
        form = await client.post("/api2/json/pools", data={"poolid": "one"}, headers=headers)
        json_body = await client.post("/api2/json/pools", json={"poolid": "two", "comment": "ü"}, headers=headers)
        query = await client.delete("/api2/json/pools?poolid=one", headers=headers)
        assert (form.status, json_body.status, query.status) == (200, 200, 200)
        listed = await (await client.get("/api2/json/pools", headers=headers)).json()
        assert listed == {"data": [{"poolid": "two", "comment": "ü"}]}
        renewed = {"username": "root@pam", "password": headers["Cookie"].partition("=")[2]}
        assert (await client.post("/api2/json/access/ticket", data=renewed)).status == 200

    lines = visit(simulated, tmp_path, visitor)
    assert PASSWORD not in json.dumps(lines)
    assert [line["path"] for line in lines][:2] == ["/access/ticket", "/pools"]
    assert lines[0]["params"]["password"] == "***"
    assert lines[1]["user"] == "root@pam"


def test_refused_identities(simulated: Simulated, tmp_path: Path) -> None:
    async def visitor(client: Client) -> None:
        headers = await log_in(client)
        url = "/api2/json/access/users"
        wrong = {"username": "root@pam", "password": "wrong"}
        without_csrf = {"Cookie": headers["Cookie"]}
        forged = {"Cookie": headers["Cookie"][:-3] + "xyz"}
        sent = [
            (client.get(url), "No ticket"),
            (client.get(url, headers=forged), "permission denied - invalid PVE ticket"),
            (
                client.post(url, data={"userid": "a@pve"}, headers=without_csrf),
                "Permission denied - invalid csrf token",
            ),
            (client.post("/api2/json/access/ticket", data=wrong), "authentication failure"),
        ]
        for request, reason in sent:
            answer = await request
            assert (answer.status, answer.reason) == (401, reason)

    visit(simulated, tmp_path, visitor)


def test_a_token_ends_with_its_time_and_its_user(simulated: Simulated, tmp_path: Path) -> None:
    api = Api(simulated.world)
    api.call("root@pam", "POST", "/access/users", {"userid": "p@pve"}, "node1")
    body = api.call("root@pam", "POST", "/access/users/p@pve/token/tok", {}, "node1").body or {}
    headers = {"Authorization": f"PVEAPIToken=p@pve!tok={body['data']['value']}"}

    async def visitor(client: Client) -> None:
        async def status() -> int:
            return (await client.get("/api2/json/version", headers=headers)).status

        path = "/access/users/p@pve"
        assert await status() == 200
        api.call("root@pam", "PUT", f"{path}/token/tok", {"expire": "1000"}, "node1")
        assert await status() == 401
        api.call("root@pam", "PUT", f"{path}/token/tok", {"expire": "0"}, "node1")
        api.call("root@pam", "PUT", path, {"enable": "0"}, "node1")
        assert await status() == 401
        api.call("root@pam", "PUT", path, {"enable": "1"}, "node1")
        assert await status() == 200

    lines = visit(simulated, tmp_path, visitor)
    assert body["data"]["value"] not in json.dumps(lines)
    assert body["data"]["value"] not in json.dumps(simulated.world.all("token"))


def test_a_volume_id_may_be_encoded(simulated: Simulated, tmp_path: Path) -> None:
    async def visitor(client: Client) -> None:
        headers = await log_in(client)
        with (tmp_path / "x.iso").open("wb") as file:
            file.write(b"an image")
        form = aiohttp.FormData({"content": "iso"})
        form.add_field("filename", (tmp_path / "x.iso").read_bytes(), filename="x.iso")
        sent = await client.post("/api2/json/nodes/node1/storage/local/upload", data=form, headers=headers)
        assert sent.status == 200
        for _ in range(100):
            listed = await client.get("/api2/json/nodes/node1/storage/local/content?content=iso", headers=headers)
            if found := (await listed.json())["data"]:
                break
        assert found[0]["volid"] == "local:iso/x.iso"
        assert found[0]["size"] == len(b"an image")
        url = "/api2/json/nodes/node1/storage/local/content/local:iso%2Fx.iso"
        assert (await client.delete(url, headers=headers)).status == 200

    visit(simulated, tmp_path, visitor)


def test_an_upload_needs_no_csrf_token_and_is_refused_at_the_door(simulated: Simulated, tmp_path: Path) -> None:
    """auth_handler of PVE::HTTPServer: the right to upload stands in for the token, and is asked before the body."""
    api = Api(simulated.world)
    api.call("root@pam", "POST", "/access/users", {"userid": "p@pve"}, "node1")
    body = api.call("root@pam", "POST", "/access/users/p@pve/token/tok", {}, "node1").body or {}
    other = {"Authorization": f"PVEAPIToken=p@pve!tok={body['data']['value']}"}
    url = "/api2/json/nodes/node1/storage/local/upload"

    def form() -> aiohttp.FormData:
        made = aiohttp.FormData({"content": "iso"})
        made.add_field("filename", b"an image", filename="x.iso")
        return made

    async def visitor(client: Client) -> None:
        cookie = {"Cookie": (await log_in(client))["Cookie"]}
        assert (await client.post(url, data=form(), headers=cookie)).status == 200
        denied = await client.post(url, data=form(), headers=other)
        told = "Permission check failed (/storage/local, Datastore.AllocateTemplate)"
        assert (denied.status, denied.reason, await denied.text()) == (403, told, "")

    visit(simulated, tmp_path, visitor)


BODIES: list[tuple[str, dict[str, Any], tuple[int, str]]] = [
    ("POST", {"data": b"{", "headers": {"Content-Type": "application/json"}}, (501, "malformed JSON string")),
    ("POST", {"data": b"[1]", "headers": {"Content-Type": "application/json"}}, (501, "malformed JSON string")),
    (
        "POST",
        {"data": b"poolid=a", "headers": {"Content-Type": "text/plain"}},
        (506, "upload 'Content-Type 'text/plain' not implemented"),
    ),
    ("DELETE", {"data": {"poolid": "a"}}, (501, "Unexpected content for method 'DELETE'")),
    ("GET", {"json": {"poolid": "a"}}, (501, "Unexpected content for method 'GET'")),
    ("POST", {"data": {"poolid": "a"}, "chunked": True}, (501, "chunked transfer encoding not supported")),
    ("POST", {"json": {"poolid": "a", "comment": None}}, (200, "OK")),
    ("POST", {"data": {"poolid": "a", "_dc": "1"}}, (200, "OK")),
    ("POST", {"data": b"poolid=a&comment=x+y", "skip_auto_headers": ["Content-Type"]}, (200, "OK")),
]


@pytest.mark.parametrize(("method", "sent", "told"), BODIES)
def test_bodies(simulated: Simulated, tmp_path: Path, method: str, sent: dict[str, Any], told: tuple[int, str]) -> None:
    """PVE::APIServer::AnyEvent; a body is looked at only where its sender is let in."""

    async def visitor(client: Client) -> None:
        headers = await log_in(client) | sent.get("headers", {})
        answer = await client.request(method, "/api2/json/pools", **sent | {"headers": headers})
        assert (answer.status, str(answer.reason)[: len(told[1])]) == told
        if answer.status != 200:
            assert await answer.text() == ""
        unknown = await client.request(method, "/api2/json/pools", **sent)
        assert unknown.status == (501 if "chunked" in sent else 401)

    visit(simulated, tmp_path, visitor)


def test_a_cookie_counts_before_a_token(simulated: Simulated, tmp_path: Path) -> None:
    async def visitor(client: Client) -> None:
        headers = {"Cookie": "PVEAuthCookie=PVE:x", "Authorization": "PVEAPIToken=root@pam!none=1"}
        answer = await client.get("/api2/json/version", headers=headers)
        assert answer.reason == "permission denied - invalid PVE ticket"
        other = await client.get("/api2/json/version", headers={"Authorization": "Bearer x"})
        assert other.reason == "No ticket"

    visit(simulated, tmp_path, visitor)


@pytest.mark.parametrize(("kind", "status"), [("500", 500), ("595", 595), ("401", 401)])
def test_faults_that_answer(simulated: Simulated, tmp_path: Path, kind: str, status: int) -> None:
    Faults(simulated.world).add(kind, "node1 GET /access/domains")

    async def visitor(client: Client) -> None:
        first = await client.get("/api2/json/access/domains")
        second = await client.get("/api2/json/access/domains")
        assert (first.status, second.status) == (status, 200)

    visit(simulated, tmp_path, visitor)


def test_a_cut_connection_changes_nothing(simulated: Simulated, tmp_path: Path) -> None:
    async def visitor(client: Client) -> None:
        headers = await log_in(client)
        Faults(simulated.world).add("reset", "POST /pools")
        with pytest.raises(aiohttp.ClientError):
            await client.post("/api2/json/pools", data={"poolid": "one"}, headers=headers)
        assert simulated.world.get("pool", "one") is None

    visit(simulated, tmp_path, visitor)


def test_an_answer_that_is_lost_is_journaled_as_such(simulated: Simulated, tmp_path: Path) -> None:
    async def visitor(client: Client) -> None:
        headers = await log_in(client)
        Faults(simulated.world).add("reset", "POST /pools (after)")
        with pytest.raises(aiohttp.ClientError):
            await client.post("/api2/json/pools", data={"poolid": "one"}, headers=headers)
        assert simulated.world.get("pool", "one") is not None

    logged_in, cut = visit(simulated, tmp_path, visitor)
    assert (cut["status"], cut["lost"]) == (200, True)
    assert "lost" not in logged_in


def test_no_answer(simulated: Simulated, tmp_path: Path) -> None:
    Faults(simulated.world).add("timeout", "GET /access/domains")

    async def visitor(client: Client) -> None:
        limit = aiohttp.ClientTimeout(total=0.2)
        with pytest.raises(TimeoutError):
            await client.get("/api2/json/access/domains", timeout=limit)

    visit(simulated, tmp_path, visitor)


def test_a_host_cut_off(simulated: Simulated, tmp_path: Path) -> None:
    async def visitor(client: Client) -> None:
        headers = await log_in(client)
        Faults(simulated.world).add("partition", "node2", 2)
        away = await client.get("/api2/json/nodes/node2/qemu", headers=headers)
        assert (away.status, away.reason) == (595, "No route to host")
        nodes = await (await client.get("/api2/json/nodes", headers=headers)).json()
        assert {node["node"]: node["status"] for node in nodes["data"]}["node2"] == "offline"
        away = await client.get("/api2/json/nodes/node2/qemu", headers=headers)
        assert away.status == 595
        back = await client.get("/api2/json/nodes/node2/qemu", headers=headers)
        assert back.status == 200, "it was cut off for two who tried, and for no third"
        Faults(simulated.world).add("partition", "node1")
        with pytest.raises(aiohttp.ClientError):
            await client.get("/api2/json/version", headers=headers)

    visit(simulated, tmp_path, visitor)


def test_an_upload_that_finds_no_room(simulated: Simulated, tmp_path: Path) -> None:
    faults = Faults(simulated.world)
    url = "/api2/json/nodes/node1/storage/local/upload"

    async def send(client: Client, headers: dict[str, str]) -> aiohttp.ClientResponse:
        form = aiohttp.FormData({"content": "iso"})
        form.add_field("filename", b"an image", filename="x.iso")
        return await client.post(url, data=form, headers=headers)

    async def visitor(client: Client) -> None:
        headers = await log_in(client)
        faults.add("disk-full", "pveupload")
        assert str((await send(client, headers)).reason).endswith("failed - No space left on device")
        faults.add("disk-full", "template/iso")
        upid = (await (await send(client, headers)).json())["data"]
        path = f"/api2/json/nodes/node1/tasks/{upid}/status"
        status = (await (await client.get(path, headers=headers)).json())["data"]
        told = "import failed: cp: error writing '/var/lib/vz/template/iso/x.iso': No space left on device"
        assert status["exitstatus"] == told
        assert (await send(client, headers)).status == 200
        assert simulated.hosts["node1"].files.exists("/var/lib/vz/template/iso/x.iso")

    visit(simulated, tmp_path, visitor)


def test_an_unknown_path_is_journaled(simulated: Simulated, tmp_path: Path) -> None:
    async def visitor(client: Client) -> None:
        answer = await client.get("/api2/json/no/such", headers=await log_in(client))
        assert (answer.status, answer.reason) == (501, "Method 'GET /no/such' not implemented")

    assert visit(simulated, tmp_path, visitor)[-1] | {"t": 0, "ms": 0} == {
        "t": 0,
        "kind": "api",
        "node": "node1",
        "user": "root@pam",
        "method": "GET",
        "path": "/no/such",
        "params": {},
        "status": 501,
        "task": None,
        "ms": 0,
    }


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("OPTIONS", "/api2/json/version", "method 'OPTIONS' not available"),
        ("HEAD", "/api2/json/version", "method 'HEAD' not available"),
        ("PATCH", "/api2/json/nosuch", "method 'PATCH' not available"),
        ("GET", "/api2/yaml/version", "no such uri"),
        ("GET", "/nosuch", "no such file '/nosuch'"),
        ("GET", "/api2/json/version/nosuch", "Method 'GET /version/nosuch' not implemented"),
    ],
)
def test_what_there_is_not(simulated: Simulated, tmp_path: Path, method: str, path: str, told: str) -> None:
    async def visitor(client: Client) -> None:
        answer = await client.request(method, path, headers=await log_in(client))
        assert (answer.status, answer.reason) == (501, told)

    visit(simulated, tmp_path, visitor)


def test_the_web_interface_is_answered_in_its_own_form(simulated: Simulated, tmp_path: Path) -> None:
    """prepare_response_data of PVE::APIServer::Formatter::Standard: what happened stands in the body alone."""

    async def visitor(client: Client) -> None:
        headers = await log_in(client)
        made = await client.post("/api2/extjs/pools", data={"poolid": "one"}, headers=headers)
        assert await made.json() == {"data": None, "success": 1}
        again = await client.post("/api2/extjs/pools", data={"poolid": "one"}, headers=headers)
        told = {"message": "create pool failed: pool 'one' already exists\n", "status": 500, "success": 0}
        assert (again.status, again.reason, await again.json()) == (200, "OK", {"data": None} | told)
        wrong = await (await client.post("/api2/extjs/pools", headers=headers)).json()
        assert (wrong["status"], list(wrong["errors"])) == (400, ["poolid"])
        assert (await client.get("/api2/extjs/pools")).status == 401

    visit(simulated, tmp_path, visitor)
