"""The lab against what a real Proxmox VE answered, exchange by exchange; and what the replay sees."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from lib.lab.replay.comparison import differences, shapes
from lib.lab.replay.gaps import unrecorded
from lib.lab.replay.recording import Result, exchanges_of, load
from lib.lab.replay.run import replay as replay_file
from tests.contract.recordings import COMMANDS, REST

pytestmark = pytest.mark.skipif(not REST.exists(), reason=f"no recording at {REST}")


def replay(path: Path) -> list[Result]:
    return replay_file(path)[1]


@pytest.mark.parametrize("recording", [REST, COMMANDS], ids=lambda path: path.stem)
def test_every_answer_is_as_recorded(recording: Path) -> None:
    differing = [result for result in replay(recording) if not result.agrees]
    assert not differing, "\n".join(f"{each.number} {each.sent}: {each.differences}" for each in differing)


def changed(recording: Path, folder: Path, number: int, *where: Any, to: Any) -> Path:
    """Return a copy of the recording in which one value is another (or gone, if it is to be None)."""
    document = copy.deepcopy(load(recording))
    place = next(document[name] for name in ("exchanges", "commands") if name in document)[number]
    for step in where[:-1]:
        place = place[step]
    if to is None:
        del place[where[-1]]
    else:
        place[where[-1]] = to
    copied = folder / recording.name
    copied.write_text(json.dumps(document))
    return copied


DATA = ("body", "data")
TAMPERED = [
    (1, ("status",), 201),
    (15, ("reason",), "something else"),
    (2, ("body", "message"), "something else"),
    (14, (*DATA, "VM.Audit"), None),
    (18, ("body", "errors", "privs"), "something else"),
    (34, ("body", "errors", "email"), "property is missing and it is not optional"),
    (35, (*DATA, "comment"), "another"),
    (36, ("params", "comment"), "what 37 does not show"),
    (44, (*DATA, 0, "privsep"), "1"),  # text where there was a number
    (54, ("status",), 401),
    (70, (*DATA, "content"), "iso,images"),
    (79, (*DATA, "used"), "29690183680"),
    (80, (*DATA, 0, "size"), "4194304"),
    (84, ("task", "exitstatus"), "OK"),
    (105, (*DATA, 0, "propagate"), 0),
    (116, ("task", "exitstatus"), "WARNINGS: 1"),
    (119, (*DATA, "cores"), 4),
    (120, (*DATA, "maxmem"), 1 << 31),
    (125, DATA, "#cloud-config\n"),
    (129, (*DATA, "efidisk0"), None),
    (141, (*DATA, "cores"), 2),
    (141, (*DATA, "scsi0"), "recdir:9300/base-9300-disk-1.qcow2/9301/vm-9301-disk-1.qcow2,size=1088M"),
    (143, (*DATA, 1, "size"), 67108864),
    (145, (*DATA, 0, "maxcpu"), 2),
    (145, (*DATA, 1, "maxdisk"), 67108864),
    (146, (*DATA, 1, "plugintype"), "nfs"),
    (149, (*DATA, 0, "endtime"), "then"),
]


@pytest.mark.parametrize(("number", "where", "to"), TAMPERED)
def test_a_difference_is_seen(tmp_path: Path, number: int, where: tuple[Any, ...], to: Any) -> None:
    tampered = changed(REST, tmp_path, number, *where, to=to)
    assert any(not result.agrees for result in replay(tampered)[number : number + 2])


def test_a_task_that_ran_is_missed_where_the_lists_leave_it_out(tmp_path: Path) -> None:
    without = [entry for entry in load(REST)["exchanges"][148]["body"]["data"] if entry["type"] != "qmtemplate"]
    tampered = changed(REST, tmp_path, 148, "body", "data", to=without)
    assert not replay(tampered)[148].agrees


@pytest.mark.parametrize(
    ("number", "where", "to"),
    [
        (0, ("exit",), 1),
        (3, ("stdout",), "[]\n"),
        (5, ("stderr",), "400 Parameter verification failed.\n"),
        (15, ("stdout",), "Name         Type     Status\n"),
        (24, ("stdout",), "cores: 2\n"),
        (36, ("stderr",), "ERROR: unknown command\nUSAGE: qm\n"),
    ],
)
def test_a_difference_of_a_command_is_seen(tmp_path: Path, number: int, where: tuple[Any, ...], to: Any) -> None:
    assert not replay(changed(COMMANDS, tmp_path, number, *where, to=to))[number].agrees


# ------------------------------------------------------------------- gaps


def test_what_ran_unrecorded_is_found_at_its_place() -> None:
    """Between 126 and 127 the guest was changed and its disk grown; another guest lived between 144 and 145."""
    found = [(each.before, each.shown["type"], each.shown["id"]) for each in unrecorded(exchanges_of(load(REST)))]
    assert found[:4] == [(127, "qmconfig", "9300"), *[(127, "resize", "9300")] * 3]
    assert {(before, guest) for before, _, guest in found[4:]} == {(148, "9304"), (148, "9399")}


def test_without_the_lists_of_tasks_the_same_change_is_a_difference(tmp_path: Path) -> None:
    """What nothing explains is not taken over from the recording."""
    document = load(REST)
    del document["exchanges"][148:150]
    short = tmp_path / "short.json"
    short.write_text(json.dumps(document))
    assert [result.number for result in replay(short) if not result.agrees] == [129, 141, 142, 143, 145]


# ------------------------------------------------------- what was there before


def test_a_part_of_a_recording_agrees_without_what_came_before_it(tmp_path: Path) -> None:
    """Roles, users, tokens, storages and guests that an excerpt shows, and does not make, were there before."""
    document = load(REST)
    whole = document["exchanges"]
    for start in (22, 35, 43, 54, 70, 97, 117):
        document["exchanges"] = whole[start : start + 3]
        excerpt = tmp_path / f"{start}.json"
        excerpt.write_text(json.dumps(document))
        assert [result.differences for result in replay(excerpt)] == [[], [], []], start


def test_a_storage_that_requests_use_was_there_and_holds_what_they_put_there(tmp_path: Path) -> None:
    """The recording's own storage is made before 84; an excerpt from there on agrees all the same."""
    document = load(REST)
    whole = document["exchanges"]
    document["exchanges"] = [*whole[82:83], *whole[92:93], *whole[94:96]]
    excerpt = tmp_path / "excerpt.json"
    excerpt.write_text(json.dumps(document))
    assert [result.differences for result in replay(excerpt)] == [[], [], [], []]


# -------------------------------------------------------------- comparison


@pytest.mark.parametrize(
    ("got", "recorded"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": "1"}),
        ({"a": True}, {"a": 1}),
        ({"a": None}, {"a": 0}),
        ({}, {"a": None}),
        ({"a": 1}, {}),
        ({"uptime": 3}, {"uptime": "3"}),
        ({"maxmem": 3, "vmid": 100}, {"maxmem": 4, "vmid": 100}),
        ([{"name": "a"}], [{"name": "a"}, {"name": "a"}]),
        ([], [{"name": "a"}]),
    ],
)
def test_values_differ(got: Any, recorded: Any) -> None:
    assert list(differences("body", got, recorded))


def test_figures_of_the_moment_do_not_differ() -> None:
    assert not list(differences("body", [{"uptime": 3, "vmid": 1}], [{"uptime": 4, "vmid": 1}]))


def test_shapes_differ_where_no_entry_is_like_another() -> None:
    assert not list(shapes("body", [{"a": 1}, {"b": 1}], [{"b": 2}]))
    assert list(shapes("body", [{"a": 1}], [{"b": 2}]))
    assert list(shapes("body", {"a": [1]}, {"a": {}}))


# ------------------------------------------------------------------ odd forms


@pytest.mark.parametrize("body", [None, {"raw": ""}, {"data": None}, {"data": []}, {"data": {}}, {"data": [{}]}])
def test_a_recording_in_a_form_that_nobody_foresaw_is_replayed_to_its_end(tmp_path: Path, body: Any) -> None:
    document = load(REST)
    for exchange in document["exchanges"][::2]:
        exchange["body"] = body
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps(document))
    assert len(replay(odd)) == len(document["exchanges"])


def test_what_others_than_root_are_shown_is_not_taken_for_the_whole(tmp_path: Path) -> None:
    document = load(REST)
    refused = {"as": "rec@pve", "method": "GET", "params": {}, "path": "/nodes/pve/time", "status": 403}
    refused |= {"reason": "Permission check failed (/nodes/pve, Sys.Audit)"}
    refused |= {"body": {"data": None, "message": f"{refused['reason']}\n"}}
    read = {"as": "root@pam", "method": "GET", "params": {}, "path": "/nodes/pve/time", "status": 200, "reason": "OK"}
    read |= {"body": {"data": {"localtime": 1, "time": 1, "timezone": "Europe/Vienna"}}}
    document["exchanges"] = [refused, read]
    excerpt = tmp_path / "excerpt.json"
    excerpt.write_text(json.dumps(document))
    assert [result.differences for result in replay(excerpt)] == [[], []]


SITE = "http://127.0.0.1:18081"
MISMATCH = f"checksum mismatch: got '{'1' * 64}' != expect '{'0' * 64}'"
CHECKED = {"checksum-algorithm": "sha256", "checksum": "0" * 64}


def fetched(url: str, ended: str, checked: dict[str, str], *log: str) -> dict[str, Any]:
    """Return the exchange of a download to a file of its own."""
    path = "/nodes/pve/storage/local/download-url"
    name = "".join(filter(str.isalnum, url + ended))[-40:] + ".iso"
    params = {"content": "iso", "url": url, "filename": name} | checked
    sent = {"as": "root@pam", "method": "POST", "params": params, "path": path, "status": 200, "reason": "OK"}
    upid = f"UPID:pve:<pid>:<pstart>:<starttime>:download:{name}:root@pam:"
    task = {"type": "download", "id": name, "user": "root@pam", "exitstatus": ended, "log": [*log]}
    return sent | {"body": {"data": upid}, "task": task}


def asked(url: str, said: str) -> dict[str, Any]:
    """Return the exchange of a question about a URL that had no good answer."""
    told = f"invalid server response: '{said}'"
    sent = {"as": "root@pam", "method": "GET", "params": {"url": url}, "path": "/nodes/pve/query-url-metadata"}
    return sent | {"status": 500, "reason": told, "body": {"data": None, "message": f"{told}\n"}}


@pytest.mark.parametrize(
    "exchanges",
    [
        [fetched(f"{SITE}/a", MISMATCH, CHECKED), fetched(f"{SITE}/b", "download failed: exit code 8", {})],
        [fetched("http://127.0.0.1:1/b", "download failed: exit code 4", {})],
        [fetched(f"{SITE}/a", "OK", {}, "Length: 196616 (192K) [application/octet-stream]")],
        [fetched(f"{SITE}/a", "OK", CHECKED)],
        [asked(f"{SITE}/b", "404 File not found"), fetched(f"{SITE}/b", "download failed: exit code 8", {})],
        [asked("http://127.0.0.1:1/b", "500 Can't connect to 127.0.0.1:1 (Connection refused)")],
    ],
)
def test_what_urls_served_shows_in_what_became_of_downloads(tmp_path: Path, exchanges: list[dict[str, Any]]) -> None:
    document = load(REST)
    first = [each for each in document["exchanges"] if each["path"] == "/storage" and each["method"] == "GET"][:1]
    document["exchanges"] = [*first, *exchanges]
    excerpt = tmp_path / "excerpt.json"
    excerpt.write_text(json.dumps(document))
    assert [result.differences for result in replay(excerpt)[1:]] == [[] for _ in exchanges]


HEADER = {"release": "8.4", "version": "8.4.14", "repoid": "b"}


@pytest.mark.parametrize(
    ("said", "name", "release"), [(HEADER, "rest", 8), ("9.0.3", "rest", 9), (None, "rest-8.4", 8), (None, "rest", 9)]
)
def test_the_lab_has_the_version_that_was_recorded(tmp_path: Path, said: Any, name: str, release: int) -> None:
    asked = {"as": "root@pam", "method": "POST", "params": {"roleid": "One", "privs": "VM.Monitor"}}
    answer = {"status": 200, "reason": "OK", "body": {"data": None}}
    if release == 9:
        complaint = {"privs": "invalid format - invalid privilege 'VM.Monitor'\n"}
        refused = {"data": None, "errors": complaint, "message": "Parameter verification failed.\n"}
        answer = {"status": 400, "reason": "Parameter verification failed.", "body": refused}
    recording = tmp_path / f"{name}.json"
    recording.write_text(json.dumps({"pve_version": said, "exchanges": [asked | answer | {"path": "/access/roles"}]}))
    assert [result.differences for result in replay(recording)] == [[]]


# ------------------------------------------------------- what only the lists tell

LIFE = [  # the tasks of guest 9304, in order, and the requests that begin such tasks
    ("qmcreate", "POST", "", {"vmid": 9304, "scsi0": "recdir:1,format=qcow2"}),
    ("qmstop", "POST", "/9304/status/stop", {}),
    ("qmshutdown", "POST", "/9304/status/shutdown", {}),
    ("qmstart", "POST", "/9399/status/start", {}),
    ("qmstart", "POST", "/9304/status/start", {}),
    ("qmstart", "POST", "/9304/status/start", {}),
    ("qmstart", "POST", "/9304/status/start", {}),
    ("qmclone", "POST", "/9304/clone", {"newid": 9305, "full": 1}),
    ("qmstop", "POST", "/9304/status/stop", {}),
    ("qmsnapshot", "POST", "/9304/snapshot", {"snapname": "one"}),
    ("qmrollback", "POST", "/9304/snapshot/one/rollback", {}),
    ("qmdelsnapshot", "DELETE", "/9304/snapshot/one", {}),
    ("qmdestroy", "DELETE", "/9304", {}),
]


def test_the_tasks_that_only_the_lists_tell_of_follow_by_rule_too(tmp_path: Path) -> None:
    """Among them a clone of a running guest, which fails: the QEMU of the recorded machine locks images."""
    document = load(REST)
    whole = document["exchanges"]
    listed = [each for each in reversed(whole[148]["body"]["data"]) if each["id"] in ("9304", "9399")]
    assert [each["type"] for each in listed] == [kind for kind, *_ in LIFE]
    lived = []
    for (kind, method, below, params), each in zip(LIFE, listed, strict=True):
        name = each["user"] + (f"!{each['tokenid']}" if "tokenid" in each else "")
        task = {"type": kind, "id": each["id"], "user": name, "exitstatus": each["status"]}
        sent = {"as": "root@pam", "method": method, "path": f"/nodes/pve/qemu{below}", "params": params, "task": task}
        lived.append(sent | {"status": 200, "reason": "OK", "body": {"data": each["upid"].replace(name, "root@pam")}})
        task["user"] = "root@pam"
    document["exchanges"] = [*whole[:145], *lived]
    told = tmp_path / "life.json"
    told.write_text(json.dumps(document))
    replayed = replay(told)[145:]
    assert not [(each.sent, each.differences) for each in replayed if not each.agrees]
