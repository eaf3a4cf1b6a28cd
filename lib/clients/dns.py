"""Own asking one name server: many questions over UDP and TCP, several at the same time. Judges no answer.

The messages are dnspython's; its `dns.query` is not used, for it loads HTTPS and QUIC first.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from lib.clients.waiting import backoff, pause, together

AT_ONCE = 8  # of each way: dnsmasq forks for a TCP connection, and does so 20 times at most
PAYLOAD = 1232  # bytes of an answer over UDP that pass everywhere unfragmented (DNS flag day 2020)
ASK_AGAIN = ("SERVFAIL", "no answer")
TRIES = 3
LARGEST = 65535  # bytes of a message


class Question(NamedTuple):
    """A whole name without the last dot, and a type."""

    name: str
    type: str


@dataclass(frozen=True)
class Reply:
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
_Ask = Callable[[dns.message.Message], dns.message.Message]


class Resolver:
    """A name server at an address and port, the same for UDP and TCP."""

    def __init__(self, address: str, port: int = 53, timeout: float = 2.0) -> None:
        """`timeout` is in seconds, for one answer."""
        self._where = (address, port)
        self._timeout = timeout

    def ask(self, questions: Sequence[Question], patient: bool = True) -> tuple[Replies, Replies]:
        """Return the replies over UDP and over TCP; `patient` asks again what was not answered or was SERVFAIL."""
        udp, tcp = together(
            functools.partial(self._all, self._udp, questions, patient),
            functools.partial(self._all, self._tcp, questions, patient),
        )
        return udp, tcp

    def _all(
        self, way: Callable[[Sequence[Question]], Replies], questions: Sequence[Question], patient: bool
    ) -> Replies:
        """Ask until everything is answered, or, for all patience, no further answer comes."""
        replies: Replies = {}
        left, idle = list(questions), 0
        while left:
            shares = [left[start::AT_ONCE] for start in range(min(AT_ONCE, len(left)))]
            for share in together(*(functools.partial(way, share) for share in shares)):
                replies.update(share)
            again = [question for question in left if replies[question].status in ASK_AGAIN]
            idle = idle + 1 if len(again) == len(left) else 0
            left = again
            if not patient or idle == TRIES:
                break
            if left:
                pause(backoff(idle + 1))
        return replies

    def _udp(self, questions: Sequence[Question]) -> Replies:
        with contextlib.ExitStack() as stack:
            opened: list[socket.socket] = []

            def ask(asked: dns.message.Message) -> dns.message.Message:
                if not opened:
                    opened.append(stack.enter_context(self._socket(socket.SOCK_DGRAM)))
                opened[0].send(asked.to_wire())
                end = time.monotonic() + self._timeout
                while True:
                    opened[0].settimeout(max(0.001, end - time.monotonic()))
                    answer = dns.message.from_wire(opened[0].recv(LARGEST))
                    if asked.is_response(answer):  # else it comes late, for an earlier question
                        return answer

            return _each(questions, ask)

    def _tcp(self, questions: Sequence[Question]) -> Replies:
        with contextlib.ExitStack() as stack:
            opened: list[socket.socket] = []

            def ask(asked: dns.message.Message) -> dns.message.Message:
                if opened:
                    with contextlib.suppress(EOFError, ConnectionError):
                        return _over_stream(opened[-1], asked)
                # None yet, or the server has ended it: dnsmasq does so after 100 answers.
                stack.close()
                opened.append(stack.enter_context(self._socket(socket.SOCK_STREAM)))
                return _over_stream(opened[-1], asked)

            return _each(questions, ask)

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


def _over_stream(sock: socket.socket, asked: dns.message.Message) -> dns.message.Message:
    """Ask over TCP, where two bytes with its length stand before each message (RFC 1035, 4.2.2)."""
    wire = asked.to_wire()
    sock.sendall(len(wire).to_bytes(2, "big") + wire)
    answer = dns.message.from_wire(_received(sock, int.from_bytes(_received(sock, 2), "big")))
    if not asked.is_response(answer):
        raise ConnectionError("the answer is to another question")
    return answer


def _received(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        more = sock.recv(size - len(found))
        if not more:
            raise EOFError("the server has ended the connection")
        found += more
    return found


def _each(questions: Sequence[Question], ask: _Ask) -> Replies:
    """Ask one after the other; where one is not answered, the rest is left for another time."""
    replies: Replies = {}
    why = ""
    for question in questions:
        if not why:
            try:
                replies[question] = _reply(question, ask)
                continue
            except (dns.exception.DNSException, OSError, EOFError) as error:
                why = str(error) or type(error).__name__
        replies[question] = Reply("no answer", why=why)
    return replies


def _reply(question: Question, ask: _Ask) -> Reply:
    message = dns.message.make_query(question.name, question.type, use_edns=0, payload=PAYLOAD)
    answer = ask(message)
    asked = message.question[0]
    rrset = answer.get_rrset(answer.answer, asked.name, dns.rdataclass.IN, asked.rdtype)
    truncated = bool(answer.flags & dns.flags.TC)
    status = dns.rcode.to_text(answer.rcode())
    if rrset is None:
        return Reply(status, truncated)
    size = len(answer.wire) if answer.wire else 0
    return Reply(status, truncated, rrset.ttl, tuple(rrset), size)
