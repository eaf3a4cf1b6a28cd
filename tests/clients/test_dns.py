"""The client of name servers against servers that stumble: what can be answered is, whatever becomes of the rest."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import dns.message
import dns.rrset
import pytest

from lib.clients.dns import AT_ONCE, Question, Replies, Resolver

MANY = [Question(f"host{number}.example.com", "A") for number in range(AT_ONCE * 3)]
BAD = MANY[5]


def answered(wire: bytes) -> bytes:
    """Answer a question as a server that knows every name."""
    query = dns.message.from_wire(wire)
    response = dns.message.make_response(query)
    response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "192.0.2.1"))
    return response.to_wire()


def asks_for(wire: bytes, question: Question) -> bool:
    return dns.message.from_wire(wire).question[0].name.to_text() == f"{question.name}."


@contextlib.contextmanager
def listening(kind: socket.SocketKind, talk: Callable[[socket.socket], None]) -> Iterator[Resolver]:
    """Let `talk` serve a socket in a thread until it is closed."""
    with socket.socket(socket.AF_INET, kind) as server:
        server.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            server.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                talk(server)

        threading.Thread(target=serve, daemon=True).start()
        yield Resolver("127.0.0.1", server.getsockname()[1], timeout=0.2)


def connections(serve: Callable[[bytes, int], bytes | None]) -> Callable[[socket.socket], None]:
    """Serve one connection after the other; `serve` is given a question and its number on it, None ends it."""

    def talk(server: socket.socket) -> None:
        while True:
            connection, _ = server.accept()
            with contextlib.suppress(ConnectionError), connection, connection.makefile("rb") as stream:
                number = 0
                while size := int.from_bytes(stream.read(2), "big"):
                    answer = serve(stream.read(size), number)
                    if answer is None:
                        break
                    connection.sendall(len(answer).to_bytes(2, "big") + answer)
                    number += 1

    return talk


def unanswered(replies: Replies) -> list[Question]:
    return [question for question, reply in replies.items() if reply.status != "NOERROR" or not reply.data]


@pytest.mark.parametrize("most", [1, AT_ONCE - 1, AT_ONCE + 1])
def test_a_connection_that_ends_after_some_answers_is_followed_by_another(most: int) -> None:
    """As dnsmasq does after a hundred, and others after each."""
    some = connections(lambda wire, number: answered(wire) if number < most else None)
    with listening(socket.SOCK_STREAM, some) as at:
        assert unanswered(at._tcp(MANY)) == []


def test_a_server_that_says_nothing_is_waited_for_once() -> None:
    """Not once for each question."""
    ended, begun = threading.Event(), []

    def serve(wire: bytes, number: int) -> bytes | None:
        begun.append(wire)
        ended.wait(5)
        return None

    with listening(socket.SOCK_STREAM, connections(serve)) as at:
        replies = at._tcp(MANY)
        assert len(begun) == 1
        ended.set()
    assert {reply.why for reply in replies.values()} == {"timed out"}


def test_one_question_that_cuts_the_connection_leaves_the_others_answered() -> None:
    """The first that the server owes is given up, and says why."""
    cut = connections(lambda wire, _: None if asks_for(wire, BAD) else answered(wire))
    with listening(socket.SOCK_STREAM, cut) as at:
        replies = at._tcp(MANY)
    assert unanswered(replies) == [BAD]
    assert replies[BAD].why


def test_an_answer_that_cannot_be_read_leaves_the_others_answered() -> None:
    """Over TCP the rest of such a connection is not read."""
    broken = connections(lambda wire, _: b"nonsense" if asks_for(wire, BAD) else answered(wire))
    with listening(socket.SOCK_STREAM, broken) as at:
        assert unanswered(at._tcp(MANY)) == [BAD]


def test_over_udp_answers_come_in_any_order_and_with_others_between() -> None:
    """A late answer to an earlier question and an unreadable one are passed over."""
    stranger = answered(dns.message.make_query("other.example.com", "A").to_wire())

    def talk(server: socket.socket) -> None:
        for first in range(0, len(MANY), 4):
            packets = [server.recvfrom(4096) for _ in MANY[first : first + 4]]
            for wire, peer in reversed(packets):
                for packet in (stranger, b"nonsense", answered(wire)):
                    server.sendto(packet, peer)

    with listening(socket.SOCK_DGRAM, talk) as at:
        assert unanswered(at._udp(MANY)) == []


def test_over_udp_one_lost_question_leaves_the_others_answered() -> None:
    """It is waited for, and no longer."""

    def talk(server: socket.socket) -> None:
        while True:
            wire, peer = server.recvfrom(4096)
            if not asks_for(wire, BAD):
                server.sendto(answered(wire), peer)

    with listening(socket.SOCK_DGRAM, talk) as at:
        replies = at._udp(MANY)
    assert unanswered(replies) == [BAD]
    assert replies[BAD].why == "timed out"
