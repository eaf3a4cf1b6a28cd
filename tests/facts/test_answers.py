"""What is answered against what has to be."""

from __future__ import annotations

import pytest

from lib.config.records_model import Record
from lib.facts.answers import Answer, differences, named, wanted
from lib.facts.record_changes import RecordChange, label, record_changes

KEY = ("vip.example.net", "A")
WANT = Answer(frozenset({("10.0.0.30",)}), 60)


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (WANT, ""),
        (Answer(WANT.data, 5), "got 10.0.0.30 (TTL 5), want 10.0.0.30 (TTL 60)"),
        (Answer(WANT.data | {("10.0.0.99",)}, 60), "got 10.0.0.30, 10.0.0.99, want 10.0.0.30"),
        (Answer(frozenset(), 0, "SERVFAIL"), "got SERVFAIL, want 10.0.0.30"),
        (Answer(frozenset(), 0, "no answer"), "got no answer, want 10.0.0.30"),
        (Answer(frozenset()), "got nothing of this type, want 10.0.0.30"),
        (Answer(WANT.data, 60, "truncated"), "got truncated, want 10.0.0.30"),
    ],
)
def test_what_is_wrong_is_told_with_what_it_should_be(got: Answer, said: str) -> None:
    found = [str(one) for one in differences({KEY: WANT}, {KEY: got}, {KEY: got}, frozenset())]
    assert found == ([f"A vip.example.net: {said}"] if said else [])


def test_one_way_alone_is_named_and_what_is_long_may_be_cut_off_over_udp() -> None:
    cut = {KEY: Answer(frozenset(), 0, "truncated")}
    [wrong] = differences({KEY: WANT}, cut, {KEY: WANT}, frozenset())
    assert "got truncated over UDP" in str(wrong)
    assert list(differences({KEY: WANT}, cut, {KEY: WANT}, frozenset({KEY}))) == []
    assert list(differences({KEY: WANT}, cut, cut, frozenset({KEY})))


def test_a_ttl_that_the_back_end_does_not_have_is_not_compared_and_a_wildcard_is_asked_by_a_name_below() -> None:
    want = wanted([Record("*.apps.example.net", "A", 0, ("10.0.0.50",))])
    [key] = want
    assert key[0].endswith(".apps.example.net")
    assert "*" not in key[0]
    served = {key: Answer(want[key].data, 77)}
    assert list(differences(want, served, served, frozenset())) == []


def test_records_that_differ_are_told_by_name_and_type() -> None:
    def a(name: str, address: str, ttl: int = 60) -> Record:
        return Record(name, "A", ttl, (address,))

    before = [a("one", "10.0.0.1"), a("two", "10.0.0.2"), a("three", "10.0.0.3", 5)]
    after = [a("two", "10.0.0.9"), a("three", "10.0.0.3"), a("four", "10.0.0.4")]
    assert list(record_changes(before, after)) == [
        RecordChange("one", "A", "10.0.0.1", None),
        RecordChange("two", "A", "10.0.0.2", "10.0.0.9"),
        RecordChange("three", "A", "10.0.0.3 (TTL 5)", "10.0.0.3 (TTL 60)"),
        RecordChange("four", "A", None, "10.0.0.4"),
    ]
    assert label("30.0.0.10.in-addr.arpa", "PTR", "example.net") == "PTR 10.0.0.30"
    assert label("groundwork-probe.apps.example.net", "A", "example.net") == "A *.apps"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("vip", {("vip.example.net", "A"), ("vip.example.net", "TXT")}),
        ("VIP.Example.net.", {("vip.example.net", "A"), ("vip.example.net", "TXT")}),
        ("@", {("example.net", "TXT")}),
        ("example.net", {("example.net", "TXT")}),
        ("10.0.0.30", {("30.0.0.10.in-addr.arpa", "PTR")}),
        ("30.0.0.10.in-addr.arpa", {("30.0.0.10.in-addr.arpa", "PTR")}),
        ("b\xfccher", {("xn--bcher-kva.example.net", "A")}),
        ("*.apps", {("groundwork-probe.apps.example.net", "A")}),
        ("a.b.apps", {("a.b.apps.example.net", "A")}),
        ("apps", set()),
        ("vip.example.org", set()),
        ("a..b", set()),
        ("\u2603\u0301", set()),
    ],
)
def test_a_name_is_asked_for_in_every_form_that_people_write(text: str, keys: set[tuple[str, str]]) -> None:
    records = [
        Record("vip.example.net", "A", 60, ("10.0.0.30",)),
        Record("vip.example.net", "TXT", 60, ("text",)),
        Record("example.net", "TXT", 60, ("text",)),
        Record("30.0.0.10.in-addr.arpa", "PTR", 60, ("vip.example.net",)),
        Record("xn--bcher-kva.example.net", "A", 60, ("10.0.0.31",)),
        Record("*.apps.example.net", "A", 60, ("10.0.0.50",)),
    ]
    assert named(text, "example.net", wanted(records)).keys() == keys
