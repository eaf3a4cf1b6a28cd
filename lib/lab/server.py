"""Own the lab's process: it opens the world, composes the listeners, says that it is ready, and ends cleanly.

`python -m lib.lab --root FOLDER` runs it in the foreground. It holds a lock on
`.lab/server.lock` while it lives: whoever finds that lock free knows that no lab runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, Any

from aiohttp import web

from lib.config.cluster import load_cluster
from lib.errors import GroundworkError
from lib.lab import keys, ssh, topology
from lib.lab.control import PAGE, Control
from lib.lab.control import make_app as control_app
from lib.lab.dns import machine, service
from lib.lab.faults import Faults
from lib.lab.journal import Journal
from lib.lab.programs import scripts
from lib.lab.programs.host import Host, Output
from lib.lab.programs.table import run as run_program
from lib.lab.pve.api import Api
from lib.lab.pve.http import make_app
from lib.lab.relay import relay
from lib.lab.tally import Tally
from lib.lab.topology import Shape
from lib.lab.world import World

LOCK_TRIES = 40
SETTLE_SECONDS = 0.25


class Lab:
    """One lab: its world and everything that listens for it."""

    def __init__(self, root: Path, shape: Shape, latency_ms: float, lock: IO[str] | None = None) -> None:
        self.root = root
        self.folder = root / ".lab"
        self.shape = shape
        self.latency = latency_ms / 1000
        self.cluster = load_cluster(root / "cluster.toml")
        self.world = World(self.folder / "world.sqlite")
        if not self.world.lab:
            self.keys = self._keys({h.name: h.address for h in topology.hosts_of(self.cluster, shape.hosts)})
            self._build()
        else:
            self.world.put(
                "meta", "lab", self.world.lab | {"task_scale": shape.task_scale}
            )  # speed is each start's own
            self.keys = self._keys({node["name"]: node["address"] for node in self._nodes()})
            if not self.world.keys("nameserver"):  # a lab of before there was one
                machine.build(self.world, self.cluster, self.keys)
        self.hosts: dict[str, Host] = {}
        self.began = time.monotonic()
        self.journal = Journal(self.folder / "journal.jsonl")
        self.tally = Tally(self.folder / "journal.jsonl")
        self.page_url = ""
        self.faults = Faults(self.world)
        self.api = Api(self.world)
        self.stopped = asyncio.Event()
        self.lock = lock

    def _nodes(self) -> list[dict[str, Any]]:
        return list(self.world.all("node").values())

    def _machines(self) -> dict[str, str]:
        """Return the address of every host that can be logged in to, the name server last."""
        found = {node["name"]: node["address"] for node in self._nodes()}
        return found | {one["name"]: one["address"] for one in self.world.all("nameserver").values()}

    def _keys(self, addresses: dict[str, str]) -> keys.Keys:
        return keys.prepare(self.folder, addresses)

    def _build(self) -> None:
        with self.world.transaction():
            topology.build(self.world, self.cluster, self.shape, self.keys)
            machine.build(self.world, self.cluster, self.keys)

    def status(self) -> dict[str, Any]:
        """Say how it goes."""
        return {
            "pid": os.getpid(),
            "pve": self.world.lab.get("version"),
            "seconds": round(time.monotonic() - self.began, 1),
            "latency_ms": self.latency * 1000,
            "task_scale": self.world.task_scale,
            "hosts": len(self._nodes()),
            "name_server": self._name_server(),
            "guests": len(self.world.keys("guest")),
            "tasks": sum(task["status"] == "running" for task in self.world.all("task").values()),
            "faults": list(self.world.all("fault").values()),
            "page": self.page_url,
            **self.tally.told(),
        }

    def _name_server(self) -> dict[str, Any]:
        found = next(iter(self.world.all("nameserver").values()))
        facts = {key: found[key] for key in ("name", "address", "backend", "service")}
        return facts | {"running": service.is_running(self.world, found["name"])}

    def page(self, nonce: str) -> str:
        """Return the status page."""
        from lib.lab.page import render  # Jinja2 is not loaded before somebody looks

        lab = json.loads((self.folder / "lab.json").read_text())
        return render(self.world, self.journal, self.status(), lab, nonce)

    # ----------------------------------------------------------- listeners

    async def serve(self, ready: IO[str] | None) -> None:
        """Listen, write down where, say so, and go on until stopped."""
        async with contextlib.AsyncExitStack() as stack:
            before = self._previous_ports()
            api, shells, resolvers = {}, {}, {}
            for node in self._nodes():
                name, address = node["name"], node["address"]
                app = make_app(self.api, name, self.journal, self.faults)
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(self.keys.certificates[name])
                port = await stack.enter_async_context(self._http(app, context, before.get(f"api {name}", 0)))
                api[name] = f"https://127.0.0.1:{port}"
            for name, address in self._machines().items():
                host = self.hosts[name] = Host(self.world, name, self.api, self.faults)
                shell = ssh.Shell(host, run_program, self.journal, self._scripts)
                shells[address] = await stack.enter_async_context(
                    self._ssh(shell, keys.host_key(self.folder, name), before.get(f"ssh {address}", 0))
                )
                if name in self.world.keys("nameserver"):
                    resolvers[address] = stack.enter_context(self._dns(host, before.get(f"dns {address}", 0)))
            control = Control(self.status, self.page, self.faults)
            port = await stack.enter_async_context(
                self._http(control_app(control), None, before.get("control", 0), control=True)
            )
            self.page_url = f"http://127.0.0.1:{port}{PAGE}"
            self._write_down(api, shells, resolvers, port)
            self._write(
                "control.json", json.dumps({"url": f"http://127.0.0.1:{port}", "secret": control.secret}), 0o600
            )
            self._write("lab.json", json.dumps(self._lab_json(api, shells, resolvers), indent=1) + "\n", 0o644)
            if ready is not None:
                ready.write("ready\n")
                ready.close()
            self._settle()
            await self.stopped.wait()
        if not self._removed():
            (self.folder / "lab.json").unlink(missing_ok=True)
            (self.folder / "control.json").unlink(missing_ok=True)
        self.world.close()

    def _removed(self) -> bool:
        """Tell whether our folder was removed; what is there by now is another lab's."""
        if self.lock is None:
            return False
        try:
            return not os.path.samestat((self.folder / "server.lock").stat(), os.fstat(self.lock.fileno()))
        except FileNotFoundError:
            return True

    @contextlib.asynccontextmanager
    async def _http(
        self, app: web.Application, context: ssl.SSLContext | None, port: int, control: bool = False
    ) -> AsyncIterator[int]:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        delayed = self.latency > 0 and not control
        try:
            site = await _at_port(lambda p: _site(runner, context, p), 0 if delayed else port)
            inner = _port_of(site._server)
            async with self._relayed(inner, port) if delayed else contextlib.nullcontext(inner) as outer:
                yield outer
        finally:
            await runner.cleanup()

    @contextlib.asynccontextmanager
    async def _ssh(self, shell: ssh.Shell, host_key: Path, port: int) -> AsyncIterator[int]:
        delayed = self.latency > 0
        acceptor = await _at_port(lambda p: ssh.listen(shell, host_key, p), 0 if delayed else port)
        try:
            inner = acceptor.get_port()
            async with self._relayed(inner, port) if delayed else contextlib.nullcontext(inner) as outer:
                yield outer
        finally:
            acceptor.close()

    @contextlib.contextmanager
    def _dns(self, host: Host, port: int) -> Iterator[int]:
        from lib.lab.dns.listener import Listener

        listener = Listener(host, self.journal, self.latency)
        listener.open(port)
        host.service_changed = listener.follow
        try:
            yield listener.port
        finally:
            listener.close()

    @contextlib.asynccontextmanager
    async def _relayed(self, inner: int, port: int) -> AsyncIterator[int]:
        server = await _at_port(lambda p: relay(p, inner, self.latency), port)
        try:
            yield _port_of(server)
        finally:
            server.close()

    # -------------------------------------------------------------- papers

    def _lab_json(self, api: dict[str, str], shells: dict[str, int], resolvers: dict[str, int]) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "pve_version": self.world.lab.get("version"),
            "api": api,
            "ssh": shells,
            "dns": resolvers,
            "kubernetes": {},
            "ca_file": f".lab/{keys.CA_FILE}",
            "ssh_key_file": f".lab/{keys.SSH_KEY_FILE}",
            "root_password_file": f".lab/{keys.PASSWORD_FILE}",
            "latency_ms": self.latency * 1000,
        }

    def _write_down(self, api: dict[str, str], shells: dict[str, int], resolvers: dict[str, int], control: int) -> None:
        ports = {f"api {name}": int(url.rpartition(":")[2]) for name, url in api.items()}
        ports |= {f"ssh {address}": port for address, port in shells.items()} | {"control": control}
        ports |= {f"dns {address}": port for address, port in resolvers.items()}
        self._write("ports.json", json.dumps(ports), 0o644)
        machines = self._machines()
        host_keys = {name: keys.host_key(self.folder, name) for name in machines}
        self._write("known_hosts", keys.known_hosts(host_keys, machines, shells), 0o644)

    def _previous_ports(self) -> dict[str, int]:
        """Return the ports of the last start: a client that knows them shall find them again."""
        try:
            found: dict[str, int] = json.loads((self.folder / "ports.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found

    def _write(self, name: str, text: str, mode: int) -> None:
        temporary = self.folder / f".{name}.new"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
            file.write(text)
        temporary.rename(self.folder / name)

    def _settle(self) -> None:
        """End the tasks that are due, and come back when the next one is; a request may start one meanwhile."""
        if self._removed():
            self.stopped.set()
            return
        due = min((each for each in (self.api.settle(), self._scripts()) if each is not None), default=None)
        wait = SETTLE_SECONDS if due is None else min(SETTLE_SECONDS, max(0.002, due - time.time()))
        asyncio.get_running_loop().call_later(wait, self._settle)

    def _scripts(self) -> float | None:
        return scripts.settle(self.world, self.hosts, self._script_line)

    def _script_line(self, host: Host, script: dict[str, Any], argv: list[str], output: Output) -> None:
        self.journal.write("script", host=host.address, path=script["path"], argv=ssh.masked(argv), exit=output.exit)


async def _site(runner: web.AppRunner, context: ssl.SSLContext | None, port: int) -> web.TCPSite:
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context)
    await site.start()
    return site


async def _at_port(listen: Any, port: int) -> Any:
    """Listen on the wanted port, or on any free one where that is taken."""
    try:
        return await listen(port)
    except OSError:
        return await listen(0)


def _port_of(server: Any) -> int:
    return int(server.sockets[0].getsockname()[1])


def _lock(folder: Path) -> IO[str] | None:
    """Hold the lock of the one lab in this folder; a passing look at it may be in the way for a moment."""
    file = (folder / "server.lock").open("w")
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.005)
        else:
            return file
    return None


async def _main(options: argparse.Namespace, ready: IO[str] | None, lock: IO[str]) -> None:
    shape = Shape(options.pve, options.hosts, options.task_seconds, options.perverse)
    lab = Lab(options.root, shape, options.latency_ms, lock)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lab.stopped.set)
    await lab.serve(ready)


def main() -> int:
    """Run the lab until it is stopped."""
    parser = argparse.ArgumentParser(prog="python -m lib.lab", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the checkout: cluster.toml, .lab/")
    parser.add_argument("--pve", choices=sorted(topology.RELEASES), default="9.2")
    parser.add_argument("--hosts", type=int, default=0, help="number of hosts; 0: as in cluster.toml")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="round trip to every host")
    parser.add_argument("--task-seconds", type=float, default=0.05, help="factor on real durations; 0: at once")
    parser.add_argument("--perverse", type=int, default=None, metavar="SEED")
    parser.add_argument("--ready-fd", type=int, default=-1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    ready = os.fdopen(options.ready_fd, "w") if options.ready_fd >= 0 else None
    if ready is not None and os.fork():
        os._exit(0)  # whoever started it does not have to wait for its end
    folder: Path = options.root / ".lab"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = _lock(folder)
    if lock is None:
        if ready is not None:
            ready.write("running\n")
        sys.stderr.write("A lab runs already.\n")
        return 5
    with lock:
        try:
            asyncio.run(_main(options, ready, lock))
        except GroundworkError as error:
            sys.stderr.write(f"{error}\n")
            return error.exit_code
    return 0
