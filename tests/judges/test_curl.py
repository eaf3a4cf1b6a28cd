"""curl judges the lab's HTTPS: its CA, tickets with cookie and CSRF token, API tokens, forms, uploads, status lines."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.judges.joined import Joined
from tests.tools import tool


def curl(lab: Joined, path: str, *words: str, ca: bool = True) -> CompletedProcess[str]:
    trusted = ("--cacert", lab.variables["SSL_CERT_FILE"]) if ca else ()
    return lab.run(tool("curl"), "-sS", *trusted, *words, lab.variables["PROXMOX_URL"] + path, variables={})


def answer(lab: Joined, path: str, *words: str) -> tuple[str, str]:
    """Return the status line and the body."""
    done = curl(lab, path, "-i", *words)
    assert done.returncode == 0, done.stderr
    head, _, body = done.stdout.partition("\n\n")
    return head.splitlines()[0].rstrip(), body


def data(lab: Joined, path: str, *words: str) -> Any:
    status, body = answer(lab, path, *words)
    assert status == "HTTP/1.1 200 OK", (status, body)
    return json.loads(body)["data"]


@pytest.fixture(scope="module")
def ticket(lab: Joined) -> tuple[str, ...]:
    """Return the options that carry a ticket and its CSRF token."""
    user = f"username={lab.variables['PROXMOX_USERNAME']}"
    password = f"password={lab.variables['PROXMOX_PASSWORD']}"
    given = data(lab, "/access/ticket", "-d", user, "--data-urlencode", password)
    return "-b", f"PVEAuthCookie={given['ticket']}", "-H", f"CSRFPreventionToken: {given['CSRFPreventionToken']}"


def test_the_certificate_is_the_ca_s_and_nobody_else_s(lab: Joined) -> None:
    assert curl(lab, "/version", ca=False).returncode == 60
    assert curl(lab, "/version").returncode == 0


def test_who_shows_nothing_is_told_so_in_the_status_line(lab: Joined) -> None:
    assert answer(lab, "/version") == ("HTTP/1.1 401 No ticket", "")
    wrong = ("-H", "Authorization: PVEAPIToken=root@pam!none=00000000-0000-0000-0000-000000000000")
    assert answer(lab, "/version", *wrong) == ("HTTP/1.1 401 Authentication failed!", "")
    login = ("-d", "username=root@pam", "-d", "password=wrong")
    assert answer(lab, "/access/ticket", *login)[0] == "HTTP/1.1 401 authentication failure"


def test_a_ticket_reads_alone_and_writes_with_its_csrf_token(lab: Joined, ticket: tuple[str, ...]) -> None:
    cookie = ticket[:2]
    assert data(lab, "/version", *cookie)["release"] == "9.2"
    refused = answer(lab, "/pools", *cookie, "-d", "poolid=judged")
    assert refused == ("HTTP/1.1 401 Permission denied - invalid csrf token", "")
    assert (
        data(lab, "/pools", *ticket, "--data-urlencode", "poolid=judged", "--data-urlencode", "comment=ä & ß") is None
    )
    [pool] = data(lab, "/pools", *cookie, "-G", "-d", "poolid=judged")
    assert pool["comment"] == "ä & ß"


def test_a_path_that_nobody_knows(lab: Joined, ticket: tuple[str, ...]) -> None:
    status, body = answer(lab, "/no/such/path", *ticket)
    assert status == "HTTP/1.1 501 Method 'GET /no/such/path' not implemented"
    assert json.loads(body)["data"] is None
    assert answer(lab, "/version", "-X", "PUT", *ticket)[0] == "HTTP/1.1 501 Method 'PUT /version' not implemented"


def test_a_wrong_parameter_is_named(lab: Joined, ticket: tuple[str, ...]) -> None:
    status, body = answer(lab, "/nodes/node1/qemu", *ticket, "-d", "vmid=7", "-d", "nonsense=1")
    assert status == "HTTP/1.1 400 Parameter verification failed."
    assert set(json.loads(body)["errors"]) == {"vmid", "nonsense"}


def test_a_token_needs_no_csrf_token_and_has_its_own_rights(lab: Joined, ticket: tuple[str, ...]) -> None:
    path = "/access/users/root@pam/token/judge"
    value = data(lab, path, *ticket, "-d", "privsep=1")["value"]
    token = ("-H", f"Authorization: PVEAPIToken=root@pam!judge={value}")
    refused = answer(lab, "/pools", *token, "-d", "poolid=of-token")[0]
    assert refused == "HTTP/1.1 403 Permission check failed (/pool/of-token, Pool.Allocate)"
    grant = ("-X", "PUT", "-d", "path=/pool", "-d", "roles=PVEPoolAdmin", "-d", "tokens=root@pam!judge")
    data(lab, "/access/acl", *ticket, *grant)
    data(lab, "/pools", *token, "-d", "poolid=of-token")
    data(lab, path, "-X", "DELETE", *ticket)
    assert answer(lab, "/pools", *token)[0] == "HTTP/1.1 401 Authentication failed!"


def test_a_file_is_uploaded(lab: Joined, ticket: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "judged.iso").write_bytes(b"\0" * 70_000)
    upload = ("-F", "content=iso", "-F", f"filename=@{tmp_path / 'judged.iso'}")
    upid = data(lab, "/nodes/node1/storage/local/upload", *ticket, *upload)
    assert data(lab, f"/nodes/node1/tasks/{upid}/status", *ticket)["exitstatus"] == "OK"
    [volume] = data(lab, "/nodes/node1/storage/local/content", *ticket, "-G", "-d", "content=iso")
    assert (volume["volid"], volume["size"]) == ("local:iso/judged.iso", 70_000)


def test_a_connection_is_used_again(lab: Joined, ticket: tuple[str, ...]) -> None:
    other = lab.variables["PROXMOX_URL"] + "/nodes"
    done = curl(lab, "/version", *ticket, "-w", "%{num_connects}", other)
    assert done.stdout.endswith("0"), done.stdout
