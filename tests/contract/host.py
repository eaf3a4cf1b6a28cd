"""Own a fresh host of the lab, as a recording begins with it, for tests that say what it has to answer."""

from __future__ import annotations

from typing import Any

from lib.lab.pve.answers import Answer
from lib.lab.pve.api import Api
from lib.lab.replay.before import world_of

NODE = "/nodes/pve"
GUEST = f"{NODE}/qemu/100"  # the one that `with_guest` adds


class Host:
    """One node, fresh, and root@pam before it."""

    def __init__(self, pve: str = "9.2") -> None:
        self.world = world_of([], {"release": pve, "version": f"{pve}.1", "repoid": "0"})
        self.world.put("storage", "local", {"type": "dir", "path": "/var/lib/vz", "content": "images,iso,import"})
        self.api = Api(self.world)

    def with_guest(self) -> Host:
        """Add a second storage and guest 100 with a disk on the first."""
        self.data("POST", "/storage", storage="made", type="dir", path="/mnt/made", content="images")
        given = {"scsi0": "local:1,format=qcow2", "ide2": "none,media=cdrom", "net0": "virtio,bridge=vmbr0"}
        self.task("POST", f"{NODE}/qemu", vmid=100, name="guest", boot="order=scsi0", memory=512, **given)
        return self

    def send(self, method: str, path: str, /, **params: Any) -> Answer:
        """Send a request as root@pam; two underscores in a name stand for a hyphen."""
        named = {name.replace("__", "-"): str(value) for name, value in params.items()}
        return self.api.call("root@pam", method, path, named, "pve")

    def data(self, method: str, path: str, /, **params: Any) -> Any:
        """Return what a request that must succeed answers."""
        answer = self.send(method, path, **params)
        assert answer.status == 200, answer
        return (answer.body or {})["data"]

    def config(self) -> dict[str, Any]:
        """Return that guest's configuration."""
        found: dict[str, Any] = self.data("GET", f"{GUEST}/config")
        return found

    def task(self, method: str, path: str, /, **params: Any) -> str:
        """Return the exit status of the task that a request begins."""
        return str((self.world.get("task", self.data(method, path, **params)) or {})["exitstatus"])

    def refused(self, method: str, path: str, /, **params: Any) -> str | dict[str, str]:
        """Return the complaints by parameter, or else the message in one line, of a request that must be refused."""
        answer = self.send(method, path, **params)
        assert answer.status in (400, 401, 403, 404, 500, 501), answer
        body = answer.body or {}
        errors: dict[str, str] = body.get("errors", {})
        return errors or " ".join(str(body.get("message") or answer.reason).split())
