"""The status page and what it counts: over the wire, as a browser asks for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lib.lab import ssh, start
from lib.lab.journal import Journal
from lib.lab.page import LINES, render, rows
from lib.lab.provenance import RECORDED, SCHEMA
from lib.lab.tally import Tally, source_of
from tests.conftest import Run
from tests.lab.simulated import CLUSTER, Simulated

STATUS: dict[str, Any] = {
    "pid": 1, "pve": "9.2.11", "seconds": 3700.0, "latency_ms": 0.0, "hosts": 4, "guests": 0, "tasks": 0, "faults": [],
    "answers": {"recording": 0, "official schema": 0, "real tool": 0, "belief": 0}, "beliefs": {},
}  # fmt: skip
NOWHERE: dict[str, Any] = {"api": {}, "ssh": {}, "dns": {}}


class Reader(HTMLParser):
    """Collects the start tags, with their attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def told(root: Path) -> dict[str, Any]:
    return start.ask(root, "GET", "/status")


def get(url: str, path: str = "", host: str | None = None) -> tuple[http.client.HTTPResponse, str]:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.netloc, timeout=10)
    connection.request("GET", path or place.path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer, text


def command(root: Path, line: str) -> int:
    words = ["ssh", "-q", "-F", str(root / "ssh_config"), CLUSTER.proxmox.hosts[0].address, line]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=30).returncode


def page(simulated: Simulated, path: Path | None = None, **status: Any) -> str:
    with contextlib.closing(Journal(path)) as journal:
        return render(simulated.world, journal, STATUS | status, NOWHERE, "once")


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", Reader(text).text)


def test_a_browser_gets_it_and_is_told_to_load_nothing_else(running: Path) -> None:
    answer, text = get(told(running)["page"])
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'nonce-")
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer.headers
    nonce = re.findall(r'<style nonce="([^"]+)">', text)
    assert f"'nonce-{nonce[0]}'" in policy
    assert nonce[0] not in get(told(running)["page"])[1], "each answer has its own"
    for host in CLUSTER.proxmox.hosts:
        assert host.name in text
        assert host.address in text


def test_another_name_for_this_machine_is_refused(running: Path) -> None:
    url = told(running)["page"]
    port = urlsplit(url).port
    for name in (f"127.0.0.1:{port}", f"localhost:{port}"):
        assert get(url, host=name)[0].status == 200
    for name in (f"rebound.example:{port}", "127.0.0.1.example", f"[::1]:{port}"):
        answer, text = get(url, host=name)
        assert answer.status == 403
        assert "10.10.1." not in text


def test_nothing_but_the_page_is_given_without_the_secret(running: Path) -> None:
    url = told(running)["page"]
    for path in ("/", "/status", "/fault", "/lab/", "/lab/../status", "//lab"):
        assert get(url, path)[0].status == 401, path


def test_no_secret_is_shown(running: Path) -> None:
    assert command(running, "pveum user token add root@pam seen --privsep 0") == 0
    command(running, "pvesh set /access/password --userid root@pam --password=uncovered")
    command(running, "env PROXMOX_TOKEN=uncovered curl -H 'Authorization: PVEAPIToken=root@pam!seen=uncovered' x")
    url = told(running)["page"]
    text = get(url)[1]
    assert "seen" in text
    assert "uncovered" not in text
    folder = running / ".lab"
    for secret in (json.loads((folder / "control.json").read_text())["secret"], (folder / "root_password").read_text()):
        assert secret.strip() not in text
    assert not re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text), "a token's value"


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("--password=x", "--password=***"),
        ("A_TOKEN=x=y", "A_TOKEN=***"),
        ("Authorization: PVEAPIToken=a@pve!b=c", "Authorization: PVEAPIToken=***"),
        ("pvesh set /access/password --password x", "pvesh set /access/password --password ***"),
        ("a token for Packer", "a token for Packer"),
        ("--privsep=0", "--privsep=0"),
    ],
)
def test_what_looks_like_a_secret_is_masked(word: str, shown: str) -> None:
    assert ssh.masked(["x", word]) == ["x", shown]


def test_answers_are_counted_and_outlive_the_process(running: Path) -> None:
    before = told(running)
    for line in ("hostname", "echo a", "echo a", "rbd ls rbd", "nosuchprogram"):
        command(running, line)
    lab = start.running(running)
    assert lab is not None
    os.kill(lab["pid"], signal.SIGKILL)
    start.stop(running)  # or what is left of it
    start.ensure(running)
    after = told(running)
    more = {kind: count - before["answers"][kind] for kind, count in after["answers"].items()}
    assert more == {"recording": 2, "official schema": 0, "real tool": 2, "belief": 1}
    words = "rbd and ceph print and end as Ceph's manual says"
    assert after["beliefs"][words] == before["beliefs"].get(words, 0) + 1
    assert after["page"] == before["page"], "a bookmark stays good"
    assert "earlier" in get(after["page"])[1]
    assert words in plain(get(after["page"])[1])


def line(**fields: Any) -> dict[str, Any]:
    return {"t": 1.0, "kind": "api", "user": "root@pam", "method": "GET", "path": "/version", "status": 200} | fields


def test_what_a_fault_answered_is_no_answer_of_the_cluster() -> None:
    assert source_of(line()) == RECORDED
    assert source_of(line(path="/no/such", status=501)) == RECORDED
    assert source_of(line(user="", status=401)) == RECORDED
    assert source_of(line(user="", path="/access/domains")) == SCHEMA
    assert source_of(line(user="", status=595)) is None
    assert source_of({"kind": "ssh", "argv": ["hostname"], "exit": None}) is None
    unknown = source_of({"kind": "new"})
    assert unknown is not None
    assert "undeclared" in unknown.believed


def test_a_program_is_found_behind_its_wrappers() -> None:
    def of(*argv: str, exit: int = 0) -> str:
        found = source_of({"kind": "ssh", "argv": list(argv), "exit": exit})
        assert found is not None
        return found.kind

    assert of("timeout", "-k", "5", "60", "env", "A=b", "/usr/bin/qm", "list") == "recording"
    assert of("/bin/sh", "-c", "timeout 60 qm list") == "recording"
    assert of("sh", "-c", "it's one line", exit=2) == "belief"
    assert of("qm", "migrate", "1", "node2") == "belief"
    assert of("timeout", "5", "nosuchprogram", exit=127) == "real tool"
    assert of("it's one line", exit=2) == "belief"


def test_half_a_line_in_the_journal_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    whole = json.dumps(line())
    path.write_text(f'{whole}\n{{"t": 1, "ki{whole}\n{whole}\n')
    tally = Tally(path)
    assert tally.told()["answers"]["recording"] == 2
    assert tally.told()["answers"]["recording"] == 2, "read on, not again"
    with contextlib.closing(Journal(path)) as journal:
        assert len(rows(journal)) == 2


def test_an_empty_lab_says_what_is_not_there_yet(simulated: Simulated) -> None:
    text = plain(page(simulated))
    for words in ("No guests yet", "No tasks yet", "No faults", "Nothing has reached the lab yet", "No answer was a"):
        assert words in text
    assert "up 1 h 1 min" in text


def test_guests_tasks_and_faults_are_told_in_words(simulated: Simulated) -> None:
    lab = simulated
    lab.hosts["node1"].faults.add("task-fail", "qmcreate 9001")
    lab.hosts["node1"].faults.add("partition", "node3", 0)
    lab.text("qm create 9000 --name one")
    lab.text("qm create 9002 --name two")
    lab.text("qm template 9002")
    assert lab.run("qm create 9001").exit == 255
    text = plain(page(lab, faults=list(lab.world.all("fault").values())))
    for words in ("9000 one node1 stopped", "9002 two node1 template", "✗ unreachable", "✗ failed qmcreate 9001"):
        assert words in text
    assert "✗ partition node3" in text
    assert "it is cleared" in text


def test_whatever_arrived_is_text(simulated: Simulated, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    attack = '"><script>alert(1)</script>' + "x" * 5000
    with contextlib.closing(Journal(path)) as journal:
        journal.write("ssh", host="10.0.0.1", user="root", argv=[attack], exit=127, ms=1.0)
        journal.write("api", node="node1", user="", method="GET", path=f"/{attack}", status=501, task=None, ms=1.0)
        for count in range(LINES - 3):
            journal.write("sftp", host="10.0.0.1", op="read", path=f"/{count}")
        journal.write("ssh", host="10.0.0.1", user="root", argv=[attack], exit=None, ms=1.0)
        found = rows(journal)
    assert len(found) == LINES
    assert (found[0].result, found[0].fine, found[0].what[-1]) == ("cut", False, "…")
    assert len(found[0].what) < 200
    text = page(simulated, path, faults=[{"kind": "500", "match": attack, "times": 1, "used": 0}])
    tags = [tag for tag, _ in Reader(text).tags]
    assert "script" not in tags
    assert tags.count("time") == 1, "lines of an earlier start have no time of day"
    assert not [name for _, attributes in Reader(text).tags for name in attributes if name.startswith("on")]


def test_the_page_can_be_read_without_seeing_it(simulated: Simulated, tmp_path: Path) -> None:
    simulated.text("qm create 9000 --name one")
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps(line(node="node1", ms=1.0)))
    text = page(simulated, path, beliefs={"something": 1})
    found = Reader(text).tags
    names = [tag for tag, _ in found]
    assert ("html", {"lang": "en"}) in found
    assert (names.count("h1"), names.count("main")) == (1, 1)
    assert names.count("title") == 1
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in found if tag == "th")
    headings = {attributes["id"] for tag, attributes in found if tag == "h2" and "id" in attributes}
    regions = [attributes for tag, attributes in found if attributes.get("role") == "region"]
    assert {attributes["aria-labelledby"] for attributes in regions} <= headings
    assert len(regions) == names.count("table") == 7  # all but the faults
    assert all(attributes["tabindex"] == "0" for attributes in regions), "a table that is wider can be scrolled by keys"


def test_lab_status_names_the_page_and_the_counts(run: Run) -> None:
    run("lab.start")
    document = json.loads(run("lab.status", "--json").stdout)
    assert document["answers"] == STATUS["answers"]
    assert document["beliefs"] == {}
    text = run("lab.status").stdout
    assert f"page {document['page']}" in text
    assert "0 by recording, 0 by official schema, 0 by real tool, 0 by belief" in text
    assert get(document["page"])[0].status == 200


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, #rgb or #rrggbb, as WCAG 2 counts it."""

    def light(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[index : index + 2], 16) / 255 for index in (0, 2, 4)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_stands_out_in_both_schemes(simulated: Simulated) -> None:
    schemes = re.findall(r":root \{([^}]*)\}", page(simulated))
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", scheme))
        for name in ("text", "soft", "fine", "bad", "wait"):
            assert contrast(colours[name], colours["back"]) >= 4.5, name
