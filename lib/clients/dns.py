"""Own asking one name server: many questions over UDP and TCP, several on their way at a time. Judges no answer.

The messages are dnspython's; its `dns.query` is not used, for it loads HTTPS and QUIC first.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import msgspec

from lib.clients.waiting import backoff, pause, together

AT_ONCE = 16  # questions of each way that wait for their answers
PAYLOAD = 1232  # bytes of an answer over UDP that pass everywhere unfragmented (DNS flag day 2020)
ASK_AGAIN = ("SERVFAIL", "no answer")
TRIES = 3
LARGEST = 65535  # bytes of a message
BROKEN = (dns.exception.DNSException, EOFError, ConnectionError)  # a connection on which nothing more can come


class Question(NamedTuple):
    """A whole name without the last dot, and a type."""

    name: str
    type: str


class Reply(msgspec.Struct, frozen=True):
    """What came back: NOERROR, NXDOMAIN, SERVFAIL …, or "no answer"; and the records of exactly that name and type.

    `ttl` is in seconds, `size` of the message in bytes, `data` dnspython's; `why` says why there is no answer.
    """

    status: str
    truncated: bool = False
    ttl: int = 0
    data: tuple[Any, ...] = ()
    size: int = 0
    why: str = ""


Replies = dict[Question, Reply]


class Resolver:
    """A name server at an address and port, the same for UDP and TCP."""

    def __init__(self, address: str, port: int = 53, timeout: float = 2.0) -> None:
        """`timeout` is in seconds, for one answer."""
        self._where = (address, port)
        self._timeout = timeout

    def ask(self, questions: Sequence[Question], patient: bool = True) -> tuple[Replies, Replies]:
        """Return the replies over UDP and over TCP; `patient` asks again what was not answered or was SERVFAIL."""
        udp, tcp = together(
            functools.partial(_all, self._udp, questions, patient),
            functools.partial(_all, self._tcp, questions, patient),
        )
        return udp, tcp

    def _udp(self, questions: Sequence[Question]) -> Replies:
        """Ask all over one socket, until they are answered or nothing more comes."""
        way = _Way(questions)
        with contextlib.suppress(OSError), way.told(), self._socket(socket.SOCK_DGRAM) as sock:
            while way.ask(sock.send):
                with contextlib.suppress(dns.exception.DNSException), way.told():
                    way.take(sock.recv(LARGEST))  # one that nobody can read is as good as lost
        return way.replies()

    def _tcp(self, questions: Sequence[Question]) -> Replies:
        """Ask all over one connection, and over another one where the server ends it: dnsmasq does after 100 answers.

        Where it ended one before any answer came, one question is asked alone; it is given up if that ends it, too.
        """
        way, at_once = _Way(questions), AT_ONCE
        with contextlib.suppress(OSError), way.told():
            while before := len(way.left):
                with (
                    self._socket(socket.SOCK_STREAM) as sock,
                    sock.makefile("rb") as stream,
                    contextlib.suppress(*BROKEN),
                    way.told(),
                ):
                    while way.ask(functools.partial(_send, sock), at_once):
                        way.take(_next(sock, stream))
                stuck, alone = len(way.left) == before, at_once == 1
                way.again(give_up=stuck and alone)
                at_once = 1 if stuck and not alone else AT_ONCE
        return way.replies()

    def _socket(self, kind: socket.SocketKind) -> socket.socket:
        """Return a connected socket: so a closed port is told at once, over UDP too."""
        sock = socket.socket(socket.AF_INET, kind)
        try:
            sock.settimeout(self._timeout)
            sock.connect(self._where)
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        return sock


class _Way:
    """The questions of one way: some ahead, some on their way, the rest answered."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self._questions = questions
        self._ahead = deque(questions)
        self._asked: dict[Question, dns.message.Message] = {}
        self._replies: Replies = {}
        self._why = ""

    @property
    def left(self) -> list[Question]:
        """What is neither answered nor given up."""
        return [*self._asked, *self._ahead]

    def ask(self, send: Callable[[bytes], object], at_once: int = AT_ONCE) -> bool:
        """Send as many as may be on their way; tell whether an answer is due."""
        while self._ahead and len(self._asked) < at_once:
            question = self._ahead.popleft()
            message = dns.message.make_query(question.name, question.type, use_edns=0, payload=PAYLOAD)
            self._asked[question] = message
            send(message.to_wire())
        return bool(self._asked)

    def take(self, wire: bytes) -> None:
        """Take an answer; one to none of our questions comes late, for an earlier one. Raises DNSException."""
        answer = dns.message.from_wire(wire)
        for question, asked in self._asked.items():
            if asked.is_response(answer):
                del self._asked[question]
                self._replies[question] = _reply(asked, answer)
                return

    def again(self, give_up: bool) -> None:
        """Ask anew what was on its way, on a new connection; or give up the first, and ask the others."""
        left = self.left[1:] if give_up else self.left
        self._ahead = deque(left)
        self._asked = {}

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Keep why there was no answer."""
        try:
            yield
        except (dns.exception.DNSException, OSError, EOFError) as error:
            self._why = str(error) or type(error).__name__
            raise

    def replies(self) -> Replies:
        """Return the reply to every question, in their order."""
        return {one: self._replies.get(one) or Reply("no answer", why=self._why) for one in self._questions}


def _all(way: Callable[[Sequence[Question]], Replies], questions: Sequence[Question], patient: bool) -> Replies:
    """Ask until everything is answered, or, for all patience, no further answer comes."""
    replies: Replies = {}
    left, idle = list(questions), 0
    while left:
        replies.update(way(left))
        again = [question for question in left if replies[question].status in ASK_AGAIN]
        idle = idle + 1 if len(again) == len(left) else 0
        left = again
        if not patient or idle == TRIES:
            break
        if left:
            pause(backoff(idle + 1))
    return replies


def _send(sock: socket.socket, wire: bytes) -> None:
    sock.sendall(len(wire).to_bytes(2, "big") + wire)


def _next(sock: socket.socket, stream: BinaryIO) -> bytes:
    """Return the next message over TCP, where two bytes with its length stand before each (RFC 1035, 4.2.2)."""
    if sys.platform == "linux":
        # Many servers hold an answer back until we have acknowledged the one before it, which else takes 40 ms.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    return _received(stream, int.from_bytes(_received(stream, 2), "big"))


def _received(stream: BinaryIO, size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError("the server has ended the connection")
    return found


def _reply(asked: dns.message.Message, answer: dns.message.Message) -> Reply:
    question = asked.question[0]
    rrset = answer.get_rrset(answer.answer, question.name, dns.rdataclass.IN, question.rdtype)
    truncated = bool(answer.flags & dns.flags.TC)
    status = dns.rcode.to_text(answer.rcode())
    if rrset is None:
        return Reply(status, truncated)
    size = len(answer.wire) if answer.wire else 0
    return Reply(status, truncated, rrset.ttl, tuple(rrset), size)
