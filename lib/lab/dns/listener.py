"""Own the sockets that a simulated name server answers on: UDP and TCP at one loopback port, faults, latency, journal.

Where the service is dead nobody listens, and a client is refused at once; the port stays ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from lib.lab.dns import service
from lib.lab.dns.answer import Answer

if TYPE_CHECKING:
    from lib.lab.journal import Journal
    from lib.lab.programs.host import Host

LOOPBACK = "127.0.0.1"


class Listener:
    """One name server's sockets."""

    def __init__(self, host: Host, journal: Journal, latency: float) -> None:
        self._host = host
        self._journal = journal
        self._half = latency / 2
        self._loop = asyncio.get_running_loop()
        self._reserved: list[socket.socket] = []
        self._packets: socket.socket | None = None
        self._stream: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    # ------------------------------------------------------------- sockets

    def open(self, port: int) -> None:
        """Take a port (0 or a taken one: any that is free for both protocols), and listen if the service runs."""
        while True:
            port = port if _is_free(port) else 0
            packets = _bound(socket.SOCK_DGRAM, port)
            taken = packets.getsockname()[1] if packets else 0
            stream = _bound(socket.SOCK_STREAM, taken) if packets else None
            if packets and stream:
                break
            for each in filter(None, (packets, stream)):
                each.close()
            port = 0
        packets.connect((LOOPBACK, taken))  # with a peer of its own it takes no stranger's packet, and refuses it
        self._reserved = [packets, stream]
        self.port = taken
        self.follow()

    def follow(self) -> None:
        """Listen where the service runs, and do not where it is dead."""
        runs = service.is_running(self._host.world, self._host.node)
        if runs and self._packets is None:
            packets, stream = _bound(socket.SOCK_DGRAM, self.port), _bound(socket.SOCK_STREAM, self.port)
            assert packets
            assert stream
            stream.listen(128)
            self._packets, self._stream = packets, stream
            self._loop.add_reader(packets, self._packet, packets)
            self._loop.add_reader(stream, self._accept, stream)
        elif not runs and self._packets is not None:
            self._silence()

    def _silence(self) -> None:
        for each in filter(None, (self._packets, self._stream)):
            self._loop.remove_reader(each)
            each.close()
        self._packets = self._stream = None
        for connection in self._connections:
            connection.cancel()

    def close(self) -> None:
        """Give the port back."""
        self._silence()
        for each in self._reserved:
            each.close()

    # ----------------------------------------------------------------- UDP

    def _packet(self, packets: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data, peer = packets.recvfrom(65535)
            self._loop.call_later(self._half, self._answer_packet, data, peer)

    def _answer_packet(self, data: bytes, peer: tuple[str, int]) -> None:
        answer = self._wire(data, over_udp=True)
        if answer is not None:
            self._loop.call_later(self._half, self._send, answer, peer)

    def _send(self, answer: bytes, peer: tuple[str, int]) -> None:
        if self._packets is not None:
            with contextlib.suppress(OSError):
                self._packets.sendto(answer, peer)

    # ----------------------------------------------------------------- TCP

    def _accept(self, stream: socket.socket) -> None:
        with contextlib.suppress(OSError):
            accepted, _peer = stream.accept()
            accepted.setblocking(False)
            connection = self._loop.create_task(self._serve(accepted))
            self._connections.add(connection)
            connection.add_done_callback(self._connections.discard)

    async def _serve(self, accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._talk(reader, writer)
            writer.close()
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._half * 2)  # SYN and its answer
        while True:
            length = int.from_bytes(await reader.readexactly(2), "big")
            data = await reader.readexactly(length)
            await asyncio.sleep(self._half)
            answer = self._wire(data, over_udp=False)
            if answer is None:
                writer.transport.abort()
                return
            await asyncio.sleep(self._half)
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()

    # ------------------------------------------------------------- answers

    def _wire(self, data: bytes, over_udp: bool) -> bytes | None:
        """Answer one message; None is silence."""
        from lib.lab.dns import wire  # dnspython is not loaded before somebody asks

        return wire.respond(data, over_udp, lambda name, kind: self._answer(name, kind, over_udp))

    def _answer(self, name: str, kind: str, over_udp: bool) -> Answer | None:
        if not self._host.is_up():
            return None
        answer = self._found(name, kind, over_udp)
        rcode = answer.rcode if answer else None
        self._journal.write("dns", host=self._host.address, name=name, type=kind, rcode=rcode)
        return answer

    def _found(self, name: str, kind: str, over_udp: bool) -> Answer | None:
        """Return the answer of a fault, or of the service."""
        faults, subject = self._host.faults, f"{self._host.address} {name} {kind}"
        answering = service.answering(self._host.world, self._host.node)
        if answering is None or faults.take("timeout", subject):
            return None
        for code in ("SERVFAIL", "REFUSED"):
            if faults.take(f"dns-{code.lower()}", subject):
                return Answer(code)
        if over_udp and faults.take("dns-truncated", subject):
            return Answer(truncated=True)
        return answering.answer(name.lower(), kind)


def _is_free(port: int) -> bool:
    """Tell whether no socket has the port, not even one that would share it: that would be another lab's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as alone:
        try:
            alone.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _bound(kind: socket.SocketKind, port: int) -> socket.socket | None:
    """Return a socket at the port, which our own sockets may share; None where another program has it."""
    found = socket.socket(socket.AF_INET, kind)
    found.setblocking(False)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((LOOPBACK, port))
    except OSError:
        found.close()
        return None
    return found
