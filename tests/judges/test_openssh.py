"""OpenSSH's own clients judge the lab's SSH: words and exit codes of ssh, batches of sftp, both protocols of scp."""

from __future__ import annotations

import os
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.judges.joined import Joined
from tests.tools import tool


def client(lab: Joined, name: str, *words: str, stdin: str = "") -> CompletedProcess[str]:
    return lab.run(tool(name), "-F", str(lab.ssh_config), *words, stdin=stdin)


def ssh(lab: Joined, *words: str, stdin: str = "") -> CompletedProcess[str]:
    return client(lab, "ssh", *words, stdin=stdin)


def batch(lab: Joined, host: str, *lines: str) -> CompletedProcess[str]:
    return client(lab, "sftp", "-b", "-", host, stdin="\n".join(lines) + "\n")


def test_every_host_answers_by_address_and_by_name(lab: Joined) -> None:
    *nodes, name_server = lab.addresses
    for address, name in zip(nodes, lab.nodes, strict=True):
        for host in (address, name):
            told = ssh(lab, host, "hostname")
            assert (told.returncode, told.stdout, told.stderr) == (0, f"{name}\n", "")
    assert ssh(lab, name_server, "dnsmasq", "--test").stderr == "dnsmasq: syntax check OK.\n"


def test_words_are_split_as_a_remote_shell_does(lab: Joined) -> None:
    assert ssh(lab, "node1", "echo", "'a  b'", "c").stdout == "a  b c\n"
    assert ssh(lab, "node1", "echo a  b").stdout == "a b\n"
    assert ssh(lab, "node1", "echo", "'an open quote").returncode == 2


def test_the_exit_code_is_the_remote_command_s(lab: Joined) -> None:
    assert [ssh(lab, "node1", word).returncode for word in ("true", "false", "nosuchcommand")] == [0, 1, 127]
    missing = ssh(lab, "node1", "cat", "/none")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == "cat: /none: No such file or directory\n"


def test_standard_input_arrives(lab: Joined) -> None:
    assert ssh(lab, "node1", "tee", "/root/told", stdin="one\ntwo\n").returncode == 0
    assert ssh(lab, "node1", "cat", "/root/told").stdout == "one\ntwo\n"
    assert ssh(lab, "node1", "cat", stdin="three\n").stdout == "three\n"


def test_one_connection_carries_several_sessions(lab: Joined, tmp_path: Path) -> None:
    shared = ("-o", f"ControlPath={os.path.relpath(tmp_path, lab.checkout)}/s")
    lasting = ("-o", "ControlMaster=auto", "-o", "ControlPersist=60")
    try:
        assert ssh(lab, *shared, *lasting, "node1", "hostname").stdout == "node1\n"
        assert ssh(lab, *shared, "node1", "hostname").stdout == "node1\n"
    finally:
        assert ssh(lab, *shared, "-O", "exit", "node1").returncode == 0


def test_sftp_puts_gets_renames_and_lists(lab: Joined, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("content\n")
    done = batch(
        lab,
        "node1",
        "mkdir /root/judged",
        f"put {tmp_path}/there /root/judged/first",
        "rename /root/judged/first /root/judged/second",
        "chmod 600 /root/judged/second",
        "ln -s second /root/judged/link",
        "ls -l /root/judged",
        f"get /root/judged/link {tmp_path}/back",
        "rm /root/judged/link",
        "rm /root/judged/second",
        "rmdir /root/judged",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_text() == "content\n"
    listed = [line.split() for line in done.stdout.splitlines() if not line.startswith("sftp>")]
    assert [(line[0], line[-1]) for line in listed] == [("lrwxrwxrwx", "link"), ("-rw-------", "second")]
    assert ssh(lab, "node1", "test", "-e", "/root/judged").returncode == 1


def test_a_batch_ends_at_the_first_line_that_fails(lab: Joined) -> None:
    done = batch(lab, "node1", "get /none", "mkdir /root/not-reached")
    assert done.returncode == 1
    assert "not found" in done.stderr
    assert ssh(lab, "node1", "test", "-e", "/root/not-reached").returncode == 1


@pytest.mark.parametrize("protocol", [(), ("-O",)], ids=["sftp", "scp"])
def test_scp_copies_a_tree_there_and_back(lab: Joined, tmp_path: Path, protocol: tuple[str, ...]) -> None:
    source, back = tmp_path / f"tree{len(protocol)}", tmp_path / "back"
    (source / "below").mkdir(parents=True)
    (source / "below" / "file").write_bytes(os.urandom(300_000))
    (source / "below" / "file").chmod(0o640)
    os.utime(source / "below" / "file", (1_600_000_000, 1_600_000_000))
    there = client(lab, "scp", *protocol, "-q", "-r", "-p", str(source), "node2:/root/")
    assert (there.returncode, there.stderr) == (0, "")
    again = client(lab, "scp", *protocol, "-q", "-r", "-p", f"node2:/root/{source.name}", str(back))
    assert (again.returncode, again.stderr) == (0, "")
    copied = back / "below" / "file"
    assert copied.read_bytes() == (source / "below" / "file").read_bytes()
    assert (copied.stat().st_mode & 0o777, copied.stat().st_mtime) == (0o640, 1_600_000_000)
    missing = client(lab, "scp", *protocol, "-q", "node2:/none", str(tmp_path / "none"))
    assert missing.returncode == 1
    assert "No such file or directory" in missing.stderr
