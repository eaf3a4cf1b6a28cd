"""What is rendered reads back as what was meant, breaks out of no line, and changes its serial when it has to."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.records import load_records
from lib.config.records_derived import OwnRecords
from lib.config.records_model import Own, OwnA, OwnCname, OwnTxt, Record
from lib.facts.zones import serial_of
from lib.zones import MARK, There, on_server, render_files, zones_folder
from tests.records import ROOT, TEXTS, complete, inputs, many, owns, read_back, sample

BACKENDS = ("bind", "dnsmasq")
EVERYTHING = ROOT / "tests" / "configs" / "records" / "valid" / "everything.toml"


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_kind_of_record_reads_back(backend: str, tmp_path: Path) -> None:
    cluster, records = load_records(inputs(tmp_path, EVERYTHING, backend))
    assert {one.type for one in records} == {"A", "AAAA", "CNAME", "PTR", "SRV", "TXT"}
    assert read_back(cluster, render_files(cluster, records, {})) == records


@pytest.mark.parametrize("backend", BACKENDS)
@settings(deadline=None, max_examples=30)
@given(st.data())
def test_any_records_read_back(backend: str, data: st.DataObject) -> None:
    cluster = sample(backend)
    records = complete(cluster, data.draw(owns(backend)))
    files = render_files(cluster, records, {})
    assert read_back(cluster, files) == records
    assert render_files(cluster, records, files) == files


@pytest.mark.parametrize("backend", BACKENDS)
@settings(deadline=None, max_examples=60)
@given(TEXTS)
def test_no_text_breaks_out_of_its_line(backend: str, text: str) -> None:
    cluster = sample(backend)
    plain = complete(cluster, Own(txt=(OwnTxt(name="x", text="plain"),)))
    records = complete(cluster, Own(txt=(OwnTxt(name="x", text=text),)))
    files, others = (render_files(cluster, each, {}) for each in (records, plain))
    assert read_back(cluster, files) == records
    for path, lines in ((path, files[path].split("\n")) for path in files):
        was = others[path].split("\n")
        assert len(lines) == len(was)
        assert sum(line != before for line, before in zip(lines, was, strict=True)) <= 1


@pytest.mark.parametrize("text", ["\n", "a\nb", "a\rb", "\t", "\x00", "\x1b[2J", "\x7f", "\x85", "x" * 4097, ""])
def test_what_is_no_line_of_text_is_refused(text: str) -> None:
    whole = OwnRecords(sample("bind"), Own(txt=(OwnTxt(name="x", text=text),)))
    assert whole.found
    assert not whole.placed


@settings(deadline=None, max_examples=200)
@given(
    st.text(max_size=12) | st.text(st.sampled_from('a.-_*@$;#",/\\ \n()'), max_size=8), st.sampled_from(["a", "cname"])
)
def test_no_name_holds_a_character_that_means_something_else(name: str, kind: str) -> None:
    own = Own(
        a=(OwnA(name=name, address="10.10.1.9"),) if kind == "a" else (),
        cname=(OwnCname(name=name, target=name),) if kind == "cname" else (),
    )
    for one in OwnRecords(sample("bind"), own).placed:
        for written in (one.record.name, *map(str, one.record.data)):
            assert re.fullmatch(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", written), written


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_set_is_a_zone_with_nothing_in_it(backend: str) -> None:
    cluster = sample(backend)
    files = render_files(cluster, (), {})
    assert read_back(cluster, files) == ()
    assert set(files) == ({"named.conf", "zones/sddc.info.zone"} if backend == "bind" else {"dnsmasq.conf"})


@pytest.mark.parametrize("backend", BACKENDS)
def test_five_thousand_records(backend: str) -> None:
    cluster = sample(backend, reverse=("172.16.0.0/16",))
    records = complete(cluster, many(2500))
    assert len(records) > 5000
    assert read_back(cluster, render_files(cluster, records, {})) == records


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_order_of_the_input_is_none_of_the_output(backend: str, tmp_path: Path) -> None:
    texts = EVERYTHING.read_text().split("\n[[")
    head, tables = texts[0], ["[[" + text for text in texts[1:]]
    fixed = [table for table in tables if table.startswith("[[ptr")]
    first = render_files(*load_records(inputs(tmp_path, EVERYTHING, backend)), {})
    turned = "\n".join([head, *reversed([table for table in tables if table not in fixed]), *fixed])
    assert render_files(*load_records(inputs(tmp_path, turned, backend)), {}) == first


# ------------------------------------------------------------------ serials


def serials(files: dict[str, str]) -> dict[str, int | None]:
    return {path: serial_of(text) for path, text in files.items() if path.startswith("zones/")}


def test_the_serial_rises_in_the_zone_that_changes_and_in_no_other() -> None:
    cluster = sample("bind")
    records = complete(cluster, Own())
    first = render_files(cluster, records, {})
    assert set(serials(first).values()) == {1}
    assert render_files(cluster, records, first) == first
    text = Record("x.sddc.info", "TXT", 3600, ("x",))
    second = render_files(cluster, (*records, text), first)
    assert serials(second) == {"zones/sddc.info.zone": 2, "zones/1.10.10.in-addr.arpa.zone": 1}
    assert serials(render_files(cluster, records, second))["zones/sddc.info.zone"] == 3


def test_a_comment_is_no_content_and_the_apparatus_of_the_zone_is() -> None:
    cluster = sample("bind")
    records = complete(cluster, Own())
    first = render_files(cluster, records, {})
    older = {path: text.replace(MARK, "Written by an older release") for path, text in first.items()}
    assert older != first
    assert render_files(cluster, records, older) == first
    moved = msgspec.structs.replace(cluster, dns=msgspec.structs.replace(cluster.dns, contact="dns.admin@example.org"))
    second = render_files(moved, records, first)
    assert set(serials(second).values()) == {2}
    assert r" dns\.admin.example.org. (" in second["zones/sddc.info.zone"]


def test_the_last_serial_is_followed_by_the_first() -> None:
    cluster = sample("bind")
    records = complete(cluster, Own())
    path = "zones/sddc.info.zone"
    last = {path: render_files(cluster, (), {})[path].replace("    1 ; serial", f"    {2**32 - 1} ; serial")}
    assert serials(render_files(cluster, records, last))[path] == 1


def test_a_tracked_zone_that_cannot_be_read_is_written_anew() -> None:
    cluster = sample("bind")
    records = complete(cluster, Own())
    fresh = render_files(cluster, records, {})
    assert render_files(cluster, records, dict.fromkeys(fresh, "\ufffd<<<<<<< ours")) == fresh


def test_a_serial_goes_past_what_is_on_the_server_and_what_is_served(tmp_path: Path) -> None:
    cluster = sample("bind")
    zone = cluster.dns.domain
    before, after = complete(cluster, Own()), complete(cluster, Own(a=(OwnA(name="more", address="10.10.1.9"),)))
    tracked = render_files(cluster, before, {})
    text = tracked[f"zones/{zone}.zone"]
    seventh = text.replace("1 ; serial", "7 ; serial")

    def serial(there: There, records: tuple[Record, ...] = before) -> int | None:
        return serial_of(render_files(cluster, records, tracked, there)[f"zones/{zone}.zone"])

    assert serial(There({zone: text}, {zone: 1})) == 1
    assert serial(There({zone: seventh}, {zone: 7})) == 7, "it has counted further, and says the same"
    assert serial(There({zone: seventh}, {zone: 7}), after) == 8
    assert serial(There({zone: text + "; by hand\n"}, {zone: 1})) == 2, "no file that is in use is overwritten"
    assert serial(There({zone: text}, {zone: 9})) == 10, "a serial never falls"
    assert serial(There({}, {zone: 1})) == 2, "somebody else's zone has that serial"
    placed = on_server(cluster, render_files(cluster, after, tracked, There({zone: seventh})))
    assert f"{zones_folder(cluster)}/{zone}.8.zone" in placed[cluster.dns.file]
    assert f"{zones_folder(cluster)}/{zone}.8.zone" in placed
