"""Own the wire format: a message that arrived as name and type, an answer as a message that fits (dnspython)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from lib.lab.dns.answer import Answer, Rr

SMALLEST = 512  # bytes that a client without EDNS takes over UDP
LARGEST = 1232  # what both back ends send over UDP at most
OVER_TCP = 65535


def respond(data: bytes, over_udp: bool, ask: Callable[[str, str], Answer | None]) -> bytes | None:
    """Return the answer to a message; None is silence. `ask` is given name (no dot at its end) and type."""
    try:
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query, recursion_available=True)
    except dns.exception.DNSException:
        return None
    if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
        response.set_rcode(dns.rcode.NOTIMP)
        return response.to_wire()
    asked = query.question[0]
    answer = ask(asked.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(asked.rdtype))
    if answer is None:
        return None
    response.set_rcode(dns.rcode.from_text(answer.rcode))
    response.flags |= dns.flags.AA if answer.authoritative else 0
    if answer.truncated:
        response.flags |= dns.flags.TC
        return response.to_wire()
    response.answer += _rrsets(answer.records)
    response.authority += _rrsets(answer.authority)
    response.additional += _rrsets(answer.additional)
    limit = min(LARGEST, max(SMALLEST, query.payload)) if over_udp else OVER_TCP
    try:
        return response.to_wire(max_size=limit)
    except dns.exception.TooBig:
        for section in response.sections[1:]:
            section.clear()
        response.flags |= dns.flags.TC
        return response.to_wire()


def _rrsets(records: Iterable[Rr]) -> list[dns.rrset.RRset]:
    """Put records of one name, type and TTL together, in order."""
    found: dict[tuple[str, str, int], list[Rr]] = {}
    for record in records:
        found.setdefault((record.name.lower(), record.type, record.ttl), []).append(record)
    return [
        dns.rrset.from_text(f"{rows[0].name}.", rows[0].ttl, dns.rdataclass.IN, rows[0].type, *(r.data for r in rows))
        for rows in found.values()
    ]
