"""What others say to a real dnsmasq: what changes one of our answers is found and named, and nothing else is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.clients.dns import Question, Resolver
from lib.config.records_model import Own, OwnA
from lib.facts import answers as facts
from tests.real.name_server import Served, served

# {} is one of our names. Which lines change its answer, the real program says.
LINES = """
host-record={},10.9.9.1
  host-record = {} , 10.9.9.1 # ours is another
host-record="{}.",10.9.9.1
cname={},elsewhere.test
interface-name={},lo
dynamic-host={},0.0.0.9,lo
dns-rr={},1,01020304
server=/{}/#
local=/{}/
cname={0}.test,{0}
ipset=/{}/x
""".strip("\n").split("\n")
BELOW = ["address=/{}/10.9.9.1", "address=/a.test/{}/", "address=/{}/#"]  # besides, for a name below a wildcard
RECORD, HOST, PLAIN = "host-record={}.sddc.info,10.9.9.1", "10.9.9.1 {}.sddc.info", "10.9.9.1 {}"
ELSEWHERE = {
    "conf.d/linked.conf": RECORD,
    "conf.d/latin.conf": f"{RECORD} # K\xf6ln",
    "conf.d/inner/deep.conf": RECORD,
    "conf.d/other.conf.old": RECORD,
    "more.d/one.conf": RECORD,
    "more.d/one.txt": RECORD,
    "further.conf": RECORD,
    "hosts": HOST,
    "hosts.d/hosts": HOST,
    "plain": PLAIN,
}
MAIN = """conf-dir={etc}/conf.d,.old
conf-dir={etc}/more.d/,*.conf
conf-file={etc}/further.conf
addn-hosts={etc}/hosts
hostsdir={etc}/hosts.d
addn-hosts={etc}/plain
expand-hosts
domain=sddc.info
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "server", "dnsmasq") as one:
        hosts = [f"n{n}" for n in range(len(LINES))] + [f"m{n}" for n in range(len(ELSEWHERE))]
        hosts += [f"*.w{n}" for n in range(len(LINES + BELOW))]
        one.own = Own(a=tuple(OwnA(name=name, address=f"172.16.0.{n}") for n, name in enumerate(hosts, 1)))
        one.place()
        yield one


def say(server: Served) -> None:
    """Let others say something of each of our names, and let dnsmasq read it."""
    etc = server.home / "etc"
    for folder in ("conf.d/inner", "more.d", "hosts.d"):
        (etc / folder).mkdir()
    main = etc / "main.conf"
    main.write_text(main.read_text().replace(f"conf-dir={etc}/conf.d\n", MAIN.format(etc=etc)))
    lines = [line.format(f"n{n}.sddc.info") for n, line in enumerate(LINES)]
    lines += [line.format(f"{facts.PROBE}.w{n}.sddc.info") for n, line in enumerate(LINES + BELOW)]
    (etc / "conf.d" / "other.conf").write_text("\n".join(lines))
    for number, (path, line) in enumerate(ELSEWHERE.items()):
        (etc / path).write_text(line.format(f"m{number}") + "\n", encoding="latin-1")
    linked = etc / "conf.d" / "linked.conf"
    linked.rename(etc / "linked")
    linked.symlink_to("../linked")
    server.stop()
    server.start()


def wrong(server: Served) -> set[str]:
    """Return the names that are not answered as we want it."""
    want = facts.wanted(server.records())
    udp, tcp = Resolver("127.0.0.1", server.port).ask([Question(*key) for key in want])
    found = facts.differences(want, facts.answers(udp), facts.answers(tcp), facts.long(tcp))
    return {one.key[0].replace(f"{facts.PROBE}.", "*.") for one in found}


def test_what_changes_an_answer_of_ours_is_named_wherever_it_stands(server: Served) -> None:
    assert wrong(server) == set()
    say(server)
    error = server.run()["name_server"].error
    assert error is not None
    assert set(re.findall(r"answers for (\S+), too", error.problem)) == wrong(server)


def test_a_folder_that_takes_no_such_name_is_told_before_anything_is_done(server: Served) -> None:
    main = server.home / "etc" / "main.conf"
    before = server.file.read_text()
    main.write_text(main.read_text().replace("/conf.d\n", "/conf.d,*.cfg\n"))
    error = server.run(rerun=frozenset({"zones"}))["name_server"].error
    assert error is not None
    assert "is not read by dnsmasq there" in error.problem
    assert server.file.read_text() == before
