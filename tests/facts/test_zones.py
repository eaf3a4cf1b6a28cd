"""Serials go the way of RFC 1982, and a zone file from elsewhere includes nothing."""

from __future__ import annotations

from pathlib import Path

import dns.exception
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.facts.zones import from_bind, is_newer, next_serial

ALL = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("tracked", "served", "wanted"),
    [
        (None, None, 1),
        (7, None, 8),
        (None, 7, 8),
        (7, 7, 8),
        (7, 6, 8),
        (7, 9, 10),
        (2**32 - 1, None, 1),
        (2**32 - 1, 2, 3),  # the served one has gone round
        (2, 2**32 - 1, 3),  # the tracked one has
        (2**31 + 5, 5, 6),  # neither is newer: what is served has to be passed
    ],
)
def test_the_next_serial(tracked: int | None, served: int | None, wanted: int) -> None:
    assert next_serial(tracked, served) == wanted


@given(ALL, ALL)
def test_the_next_serial_is_newer_than_what_is_served(tracked: int, served: int) -> None:
    found = next_serial(tracked, served)
    assert is_newer(found, served)
    assert 0 < found < 2**32
    assert found == next_serial(tracked, served)


@given(ALL, ALL)
def test_no_two_serials_are_newer_than_each_other(one: int, other: int) -> None:
    assert not (is_newer(one, other) and is_newer(other, one))
    assert not is_newer(one, one)


def test_a_zone_includes_no_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x IN A 10.0.0.1\n")
    text = f"@ 60 IN SOA a. b. 1 2 3 4 5\n@ 60 IN NS a.\n$INCLUDE {tmp_path}/x\n"
    with pytest.raises(dns.exception.DNSException):
        from_bind({"example.org": text})
