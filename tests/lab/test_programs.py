"""What the other simulated programs print and how they end, beside the real ones where these are here."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from lib.lab.pve import tasks
from tests.lab.simulated import CLUSTER, Simulated
from tests.tools import tool

IMAGE = "/var/lib/vz/import/i.qcow2"
BESIDE_THE_REAL = [
    "sha256sum a none d",
    "sha256sum 'b\\c'",
    "stat -c '%s %a %F %n %U:%G %u %f' a d empty",
    "stat -c %s none",
    "cat a none",
    "cat d",
    "cp none y",
    "cp d y",
    "mv none y",
    "rm none",
    "rm d",
    "rm -f none",
    "mkdir d",
    "mkdir no/b",
    "mkdir -p d/e/f",
    "chmod 600 none",
    "ls -1 none",
    "ls -1 d a",
    "test -e none",
    "test -f a",
    "test -d d",
    "rmdir none",
    "readlink none",
    "cmp a none",
    "grep -c x a",
    "grep nothing a",
    "head -n 1 a",
    "find d -name '*.txt'",
    "mktemp -d /no/x.XXXX",
    "systemd-escape --path --suffix=mount /mnt/rbd-iso/.x",
    "env A=b nosuchprogram",
    "timeout 5 nosuchprogram",
    "timeout x ls",
    "sh -c 'cat a none'",
    "/bin/sh -c 'timeout 5 head -n 1 a'",
    "realpath a",
    "tee no/b",
    "touch no/b",
    "touch b",
    "ln -s a b",
    "ln -s a a",
    "truncate -s 5 a",
    "truncate -s 5 no/b",
    "echo a b",
    "true",
    "sleep 0",
    "sleep x",
    "sleep",
    "grep -rH '' d none",
    "grep -rH '' d/link",
    "grep -aRH '' d none",
    "grep -c x a empty",
    "grep -h x a empty",
    "grep -q x a none",
    "nohup true",
    "false",
    "sync",
    "uname -s -m -o",
    "date -u +%Y-%m-%d",
    "date +nonsense",
    "which ls nosuchprogram",
    "mountpoint d",
    "mountpoint none",
    r"dpkg-query -W -f '${Package} ${Status}\n' bash nosuchprogram",
    "id",
    "whoami",
    "chown root:root a",
    "chown root none",
]
ROOT_ONLY = ("id", "whoami", "chown")


def fetched(lab: Simulated) -> None:
    lab.text(f"wget -q -O {IMAGE} {CLUSTER.images.cloud.url}")


@pytest.mark.parametrize("line", BESIDE_THE_REAL)
def test_core_programs_answer_like_the_real_ones(simulated: Simulated, tmp_path: Path, line: str) -> None:
    """Run the same line in a real folder and in the same folder of a simulated host."""
    tool(line.split(maxsplit=1)[0])
    if line.startswith(ROOT_ONLY) and os.geteuid() != 0:
        pytest.skip("the simulated hosts are root's, this machine is not")
    real = tmp_path / "files"
    files = simulated.hosts["node1"].files
    simulated.hosts["node1"].cwd = str(real)
    files.mkdir(str(real / "d"), parents=True)
    (real / "d").mkdir(parents=True)
    for name, content in {"a": b"x\ny\n", "b\\c": b"1", "empty": b"", "d/n.txt": b""}.items():
        (real / name).write_bytes(content)
        (real / name).chmod(0o644)
        files.write(str(real / name), content)
    (real / "d" / "link").symlink_to("../a")
    files.symlink("../a", str(real / "d" / "link"))
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=real,
        capture_output=True,
        text=True,
        timeout=10,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
    )
    ours = simulated.run(line)
    out = ours.stdout if isinstance(ours.stdout, str) else ours.stdout.decode()
    assert (ours.exit, out, ours.stderr) == (done.returncode, done.stdout, done.stderr)


def test_dpkg_query_prints_known_packages_and_names_the_others(simulated: Simulated) -> None:
    form = r"'${Package} ${Status}\n'"
    output = simulated.run(f"dpkg-query -W -f {form} bash libguestfs-tools")
    assert (output.exit, output.stdout) == (1, "bash install ok installed\n")
    assert output.stderr == "dpkg-query: no packages found matching libguestfs-tools\n"


def test_apt_get_needs_an_index_and_installs(simulated: Simulated) -> None:
    lab = simulated
    assert lab.run("apt-get install -y libguestfs-tools").exit == 100
    lab.text("apt-get update")
    simulation = lab.text("apt-get install --simulate libguestfs-tools")
    assert "Inst libguestfs-tools" in simulation
    assert "Remv" not in simulation
    assert lab.run("dpkg-query -W libguestfs-tools").exit == 1
    lab.hosts["node1"].faults.add("disk-full", "/var/cache/apt")
    full = lab.run("apt-get install -y libguestfs-tools")
    told = "E: You don't have enough free space in /var/cache/apt/archives/.\n"
    assert (full.exit, full.stderr) == (100, told)
    lab.text("env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libguestfs-tools")
    lab.text("dpkg-query -W libguestfs-tools")


def test_apt_get_update_meets_the_enterprise_repository(simulated: Simulated) -> None:
    path = "/etc/apt/sources.list.d/pve-enterprise.sources"
    simulated.hosts["node1"].files.write(path, b"Types: deb\nURIs: https://enterprise.proxmox.com/debian/pve\n")
    output = simulated.run("apt-get update")
    assert output.exit == 100
    assert "401  Unauthorized" in output.stderr
    simulated.text(f"rm {path}")
    simulated.text("apt-get update")


def test_apt_get_says_what_it_would_remove(simulated: Simulated) -> None:
    host = simulated.hosts["node1"]
    host.change(apt_removes=["proxmox-ve"])
    simulated.text("apt-get update")
    assert "Remv proxmox-ve [9.2.0]" in simulated.text("apt-get install --simulate libguestfs-tools")
    assert "proxmox-ve" in host.system()["packages"]


def test_virt_customize_needs_its_package_and_a_network(simulated: Simulated) -> None:
    lab = simulated
    fetched(lab)
    before = lab.text(f"sha256sum {IMAGE}").split()[0]
    assert before == CLUSTER.images.cloud.sha256
    line = f"virt-customize -a {IMAGE} --install qemu-guest-agent --truncate /etc/machine-id"
    assert lab.run(line).exit == 127
    lab.text("apt-get update")
    lab.text("apt-get install -y libguestfs-tools")
    assert "Temporary failure resolving" in lab.run(line).stderr
    assert lab.text(f"sha256sum {IMAGE}").split()[0] == before
    lab.text("apt-get install -y dhcpcd-base")
    lab.text(line)
    assert lab.text(f"sha256sum {IMAGE}").split()[0] != before
    facts = lab.hosts["node1"].files.stat(IMAGE)["facts"]
    assert (facts["packages"], facts["machine_id"]) == (["qemu-guest-agent"], "")
    assert json.loads(lab.text(f"qemu-img info --output json {IMAGE}"))["format"] == "qcow2"
    assert lab.run("virt-customize -a /none --truncate /etc/machine-id").exit == 1


def test_the_network_is_the_simulated_one(simulated: Simulated) -> None:
    lab = simulated
    assert lab.run(f"ping -c 1 -W 1 {CLUSTER.network.gateway}").exit == 0
    assert lab.run("ping -c 1 -W 1 10.10.1.31").exit == 1
    assert lab.run("ping -c 1 nowhere.invalid").exit == 2
    assert lab.run("getent ahosts cloud-images.ubuntu.com").exit == 0
    assert lab.run("getent hosts nowhere.invalid").exit == 2
    lab.hosts["node1"].files.write("/etc/resolv.conf", b"nameserver 192.0.2.1\n")
    assert lab.run("getent hosts cloud-images.ubuntu.com").exit == 2
    links = json.loads(lab.text("ip -j addr show dev vmbr0", "node2"))
    assert links[0]["addr_info"][0]["local"] == CLUSTER.proxmox.hosts[1].address
    assert lab.run("wget -q -O - https://cloud-images.ubuntu.com/none", "node2").exit == 8
    sums = CLUSTER.images.cloud.url.rpartition("/")[0] + "/SHA256SUMS"
    assert CLUSTER.images.cloud.sha256 in lab.text(f"curl -fsSL {sums}", "node2")


def test_a_download_that_does_not_fit_says_so(simulated: Simulated) -> None:
    lab = simulated
    lab.text("rbd create --size 100 rbd/small")
    lab.text("rbd map rbd/small")
    lab.text("mkfs.ext4 -q /dev/rbd/rbd/small")
    lab.text("mkdir /mnt/s")
    lab.text("mount /dev/rbd/rbd/small /mnt/s")
    fetched(lab)
    output = lab.run(f"cp {IMAGE} /mnt/s/")
    assert (output.exit, "No space left on device" in output.stderr) == (1, True)


def test_the_api_tools_go_through_the_api(simulated: Simulated) -> None:
    lab = simulated
    lab.text("pveum user add u@pve --comment 'a b'")
    made = json.loads(lab.text("pveum user token add u@pve tk --privsep 0 --output-format json"))
    assert made["full-tokenid"] == "u@pve!tk"
    stored = lab.world.get("token", "u@pve!tk") or {}
    assert stored["secret_sha256"] == hashlib.sha256(made["value"].encode()).hexdigest()
    users = json.loads(lab.text("pvesh get /access/users --output-format json"))
    assert "a b" in [user.get("comment") for user in users]
    lab.text("pvesh delete /access/users/u@pve")
    assert lab.run("pvesh get /access/users/u@pve").exit == 2
    assert tasks.running(lab.world) == []


def test_a_task_that_fails_fails_the_command(simulated: Simulated) -> None:
    lab = simulated
    lab.hosts["node1"].faults.add("task-fail", "qmcreate 9000")
    assert lab.run("qm create 9000 --name x --memory 256").exit == 255
    lab.text("qm create 9000 --name x --memory 256")
    assert lab.text("qm status 9000") == "status: stopped\n"
    assert lab.run("qm config 9000", "node2").exit == 2, "it is another host's"
