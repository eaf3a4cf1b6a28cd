"""`invoke dns.render` and `dns.check` in a checkout: what they write, what they find stale, and how they end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lib.facts.zones import serial_of


def choose_bind(checkout: Path) -> None:
    cluster = checkout / "cluster.toml"
    cluster.write_text(cluster.read_text().replace('backend = "dnsmasq"', 'backend = "bind"'))


def add(checkout: Path, address: str) -> None:
    with (checkout / "dns" / "records.toml").open("a") as own:
        own.write(f'[[a]]\nname = "added-{address[-1]}"\naddress = "{address}"\n')


def rendered(checkout: Path) -> dict[str, str]:
    paths = [path for path in (checkout / "dns").rglob("*") if path.is_file()]
    names = {path.relative_to(checkout / "dns").as_posix(): path.read_text() for path in paths}
    return {name: text for name, text in names.items() if name not in ("records.toml", "README.md")}


def test_the_tracked_files_are_current(checkout: Path, run: Any) -> None:
    before = rendered(checkout)
    result = run("dns.check")
    assert (result.returncode, result.stderr) == (0, "")
    assert list(before) == ["dnsmasq.conf"]
    assert run("dns.render").returncode == 0
    assert rendered(checkout) == before
    assert not (checkout / ".lab").exists()


def test_a_stale_file_is_shown_and_fails(checkout: Path, run: Any) -> None:
    before = rendered(checkout)
    add(checkout, "10.10.1.9")
    result = run("dns.check")
    assert result.returncode == 1
    assert "+host-record=added-9.sddc.info,10.10.1.9,3600\n" in result.stdout
    assert "dns: is stale (dns/dnsmasq.conf)\n  Fix: invoke dns.render" in result.stderr
    assert "Traceback" not in result.stderr
    assert rendered(checkout) == before
    assert run("--dry", "dns.render").returncode == 0
    assert rendered(checkout) == before
    assert "  ~ dns/dnsmasq.conf" in run("dns.render").stdout
    assert run("dns.check").returncode == 0
    assert (checkout / "dns" / "dnsmasq.conf").stat().st_mode & 0o777 == 0o644


def test_another_back_end_takes_its_files_along_and_no_others(checkout: Path, run: Any) -> None:
    choose_bind(checkout)
    own = checkout / "dns" / "zones" / "of-somebody-else.zone"
    own.parent.mkdir()
    own.write_text("; not ours\n")
    assert "-address=/*.apps.sddc.info/10.10.1.50" in run("dns.check").stdout
    assert run("dns.render").returncode == 0
    assert set(rendered(checkout)) == {
        "named.conf", "zones/sddc.info.zone", "zones/1.10.10.in-addr.arpa.zone", "zones/of-somebody-else.zone"
    }  # fmt: skip
    assert run("dns.check").returncode == 0


def test_the_serial_of_a_tracked_zone_rises_once_a_change(checkout: Path, run: Any) -> None:
    choose_bind(checkout)
    zone, reverse = (checkout / "dns" / "zones" / f"{name}.zone" for name in ("sddc.info", "1.10.10.in-addr.arpa"))
    seen = []
    for number in (0, 0, 8, 8, 9):
        if number and f"10.10.1.{number}" not in (checkout / "dns" / "records.toml").read_text():
            add(checkout, f"10.10.1.{number}")
        assert run("dns.render").returncode == 0
        seen.append((serial_of(zone.read_text()), serial_of(reverse.read_text())))
    assert seen == [(1, 1), (1, 1), (2, 2), (2, 2), (3, 3)]


def test_other_line_ends_are_stale(checkout: Path, run: Any) -> None:
    path = checkout / "dns" / "dnsmasq.conf"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert run("dns.check").returncode == 1
