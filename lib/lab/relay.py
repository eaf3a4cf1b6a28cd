"""Own latency: a TCP relay that delays every byte by half a round trip each way, connection set-up included."""

from __future__ import annotations

import asyncio
import contextlib
import socket


async def relay(port: int, upstream: int, seconds: float, host: str = "127.0.0.1") -> asyncio.Server:
    """Listen on `port` (0: any free one) and pass everything to `upstream`; `seconds` is the round trip."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Connection(reader, writer, seconds).serve(host, upstream)

    return await asyncio.start_server(serve, host, port, limit=1 << 20)


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
        self._reader = reader
        self._writer = writer
        self._half = seconds / 2
        self._loop = asyncio.get_running_loop()
        # SYN, SYN-ACK and ACK take three half trips before the server sees a connection.
        self._ready = self._loop.time() + 3 * self._half

    async def serve(self, host: str, upstream: int) -> None:
        """Carry both directions until both are closed."""
        tasks: list[asyncio.Task[None]] = []
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        tasks.append(asyncio.create_task(self._read(self._reader, queue)))
        writers = [self._writer]
        try:
            await self._until(self._ready)
            reader, writer = await asyncio.open_connection(host, upstream, limit=1 << 20)
            writers.append(writer)
            for each in writers:
                each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            down: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
            tasks.append(asyncio.create_task(self._read(reader, down)))
            await asyncio.gather(self._write(queue, writer), self._write(down, self._writer))
        except OSError:
            self._writer.transport.abort()  # the other side broke off: so does this one
        finally:
            for task in tasks:
                task.cancel()
            for each in writers:
                each.close()

    async def _until(self, due: float) -> None:
        left = due - self._loop.time()
        if left > 0:
            await asyncio.sleep(left)

    async def _read(self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        data = b"begin"
        while data:
            try:
                data = await reader.read(1 << 18)
            except OSError:
                data = b""
            await queue.put((max(self._loop.time() + self._half, self._ready), data))

    async def _write(self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await queue.get()
            await self._until(due)
            if not data:
                with contextlib.suppress(OSError, NotImplementedError):
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
