"""A host's files: what is mounted where decides."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.lab.faults import Faults
from lib.lab.files import Files, make_filesystem
from lib.lab.world import World

IMAGE = "rbd/rbd-iso"


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    for node in ("a", "b"):
        world.put("host", node, {"mounts": {}, "mapped": {}})
        make_filesystem(world, node)
        Files(world, node).mkdir("/mnt/x", parents=True)
    world.put("rbd", IMAGE, {"size": 1 << 30})
    make_filesystem(world, f"rbd:{IMAGE}")
    yield world
    world.close()


def mount(world: World, node: str) -> None:
    mapped = {"/dev/rbd0": {"pool": "rbd", "image": "rbd-iso"}}
    world.put("host", node, {"mounts": {"/mnt/x": {"source": "/dev/rbd0", "fstype": "ext4"}}, "mapped": mapped})


def test_a_mount_hides_what_is_below_and_the_image_keeps_its_files(world: World) -> None:
    a, b = Files(world, "a"), Files(world, "b")
    a.write("/mnt/x/below", b"1")
    mount(world, "a")
    assert a.listdir("/mnt/x") == ["lost+found"]
    a.write("/mnt/x/on-image", b"2")
    world.put("host", "a", {"mounts": {}, "mapped": {}})
    assert a.listdir("/mnt/x") == ["below"]
    mount(world, "b")
    assert b.read("/mnt/x/on-image") == b"2"


def test_rename_replaces_within_a_filesystem_and_refuses_across(world: World) -> None:
    files = Files(world, "a")
    mount(world, "a")
    files.write("/mnt/x/one", b"1", 0o600)
    files.write("/mnt/x/two", b"2")
    files.rename("/mnt/x/one", "/mnt/x/two")
    assert (files.read("/mnt/x/two"), files.stat("/mnt/x/two")["mode"]) == (b"1", 0o600)
    assert not files.exists("/mnt/x/one")
    with pytest.raises(OSError, match="link") as caught:
        files.rename("/mnt/x/two", "/two")
    assert caught.value.errno == errno.EXDEV


def test_a_folder_is_renamed_with_what_is_in_it(world: World) -> None:
    files = Files(world, "a")
    files.mkdir("/one/deep", parents=True)
    files.write("/one/deep/file", b"1")
    files.rename("/one", "/two")
    assert files.read("/two/deep/file") == b"1"
    assert not files.exists("/one/deep/file")


def test_links_are_followed_also_in_the_middle_and_loops_end(world: World) -> None:
    files = Files(world, "a")
    files.mkdir("/real/sub", parents=True)
    files.symlink("real", "/link")
    files.write("/link/sub/file", b"1")
    assert files.read("/real/sub/file") == b"1"
    files.symlink("/loop", "/loop")
    with pytest.raises(OSError, match="symbolic"):
        files.read("/loop")


def test_a_filesystem_can_be_full(world: World) -> None:
    files = Files(world, "a")
    mount(world, "a")
    with pytest.raises(OSError, match="space") as caught:
        files.put_synthetic("/mnt/x/big", 2 << 30, "0" * 64)
    assert caught.value.errno == errno.ENOSPC
    files.put_synthetic("/mnt/x/big", 1 << 29, "0" * 64)
    assert files.usage("/mnt/x")[1] > 1 << 29


def test_a_full_disk_is_a_fault_that_is_used_up_though_all_else_is_taken_back(tmp_path: Path) -> None:
    for path in (None, tmp_path / "world.sqlite"):
        world = World(path)
        world.put("node", "a", {"address": "192.0.2.1"})
        make_filesystem(world, "a")
        files = Files(world, "a")
        Faults(world).add("disk-full", "192.0.2.1 /file")
        files.write("/other", b"1")
        files.write("/file", b"")  # an empty file still finds its place

        def write_both(world: World = world, files: Files = files) -> None:
            with world.transaction():
                files.write("/before", b"1")
                files.write("/file", b"1")

        with pytest.raises(OSError, match="space") as caught:
            write_both()
        assert caught.value.errno == errno.ENOSPC
        assert not files.exists("/before")
        world.close()
        if path:
            world = World(path)
            assert world.all("fault") == {}
            Files(world, "a").write("/file", b"1")
            world.close()


def test_what_is_missing_is_told_as_linux_does(world: World) -> None:
    files = Files(world, "a")
    files.write("/file", b"")
    with pytest.raises(FileNotFoundError):
        files.write("/none/file", b"")
    with pytest.raises(NotADirectoryError):
        files.write("/file/file", b"")
    with pytest.raises(IsADirectoryError):
        files.remove("/mnt")
    with pytest.raises(OSError, match="not empty"):
        files.rmdir("/mnt")
