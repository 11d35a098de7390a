"""The host's meters: this process's memory and time, and processor packages where they can be read."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

import pytest

from peftbench.meters.host import HostMeter, peak_rss_mib, reset_peak_rss
from peftbench.meters.rapl import RaplMeter


def fresh_pages(mib: int) -> mmap.mmap:
    """Return touched memory that is this process's only from now on: an allocator may have some left of before."""
    block = mmap.mmap(-1, mib * 2**20)
    block.write(b"\1" * (mib * 2**20))
    return block


def test_the_host_meter_sees_this_process() -> None:
    meter = HostMeter()
    before = meter.sample().values
    with fresh_pages(20) as block:
        until = time.process_time() + 0.1
        while time.process_time() < until:
            block[:4096] = bytes(4096)
        after = meter.sample().values
    assert after["rss_mib"] - before["rss_mib"] > 15
    assert after["cpu_s"] - before["cpu_s"] >= 0.05
    assert after["machine_cpu_s"] - before["machine_cpu_s"] >= 0.04
    assert meter.probe().fields["rss_mib"] == "ok"


def test_the_peak_of_memory_starts_anew() -> None:
    with fresh_pages(40):
        high = peak_rss_mib()
    reset_peak_rss()
    assert peak_rss_mib() < high - 20


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    for name, what, counter in (("0", "package-0", 5_000_000), ("1", "package-1", 900), ("0:0", "core", 77)):
        zone = tmp_path / f"intel-rapl:{name}"
        zone.mkdir()
        (zone / "name").write_text(f"{what}\n")
        (zone / "energy_uj").write_text(f"{counter}\n")
        (zone / "max_energy_range_uj").write_text("10000000\n")
    return tmp_path


def test_packages_are_summed_over_their_wraps(zones: Path) -> None:
    meter = RaplMeter(zones)
    assert meter.probe().status == "ok"
    assert meter.sample().values == {"cpu_energy_j": 0.0}
    (zones / "intel-rapl:0" / "energy_uj").write_text("2000000")  # wrapped at 10 J: 7 J more
    (zones / "intel-rapl:1" / "energy_uj").write_text("500900")
    (zones / "intel-rapl:0:0" / "energy_uj").write_text("999999")  # a part of a package: in it already
    assert meter.sample().values["cpu_energy_j"] == pytest.approx(7.5)
    assert meter.sample().values["cpu_energy_j"] == pytest.approx(7.5)


def test_no_packages_is_unsupported(tmp_path: Path) -> None:
    meter = RaplMeter(tmp_path / "nothing")
    assert meter.sample().missing == {"cpu_energy_j": "unsupported"}
    assert "no RAPL" in meter.probe().detail


def test_a_counter_that_vanishes_is_lost(zones: Path) -> None:
    meter = RaplMeter(zones)
    (zones / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.sample().missing == {"cpu_energy_j": "lost"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_counters_that_are_roots_say_so(zones: Path) -> None:
    (zones / "intel-rapl:0" / "energy_uj").chmod(0)
    meter = RaplMeter(zones)
    assert meter.sample().missing == {"cpu_energy_j": "no_permission"}
    assert "chmod" in meter.probe().detail
