"""The table of meter fields: a line of it is all that windows, thinned samples, the store and labels need."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import get_args

import pytest

from peftbench.interchange import tensorboard
from peftbench.meters import thinning, window
from peftbench.meters.readings import FIELDS, Sample
from peftbench.meters.thinning import Thinner
from peftbench.meters.window import Window
from peftbench.report.charts.meter_charts import CARD_STRIPS, HOST_STRIPS
from peftbench.store.meter_fields import Aggregation, MeterField, SampleRow, Usage, measured, meter_fields
from peftbench.store.rows import Phase
from tests.meters.fakes import sample
from tests.store.life import Life

UNITS = {"w": "W", "j": "J", "mib": "MiB", "c": "°C", "mhz": "MHz", "pct": "%", "s": "s"}
OUTSIDE_WINDOWS = {"energy_so_far_j", "peak_allocated_mib", "peak_reserved_mib"}  # see `PhaseMeter`
TABLES = [(kind, field) for kind in (Usage, SampleRow) for field in meter_fields(kind).values()]
SPEC = (
    '{"preset":"p","workload":"w","method":{"name":"lora"},"encoder":{"name":"e"},"seed":0,'
    '"train":{"epochs":1},"tasks":[]}'
)


@dataclass(frozen=True, slots=True)
class WiderUsage(Usage):
    fan_pct: float | None = measured("mean", "fan", "%")
    fan_energy_j: float | None = measured("integral", "fan energy", "J", of="fan_w")
    dram_energy_j: float | None = measured("growth", "memory energy", "J")
    pcie_mib: float | None = measured("growth", "PCIe traffic", "MiB")
    hotspot_c: float | None = measured("max", "hot spot", "°C")
    links: int | None = measured("max", "links", "")
    fan_start_pct: float | None = measured("first", "fan at the start", "%", of="fan_pct")
    fan_end_pct: float | None = measured("last", "fan at the end", "%", of="fan_pct")
    fault_bits: int | None = measured("bits", "faults", "")


@dataclass(frozen=True, slots=True)
class WiderRow(SampleRow):
    fan_pct: float | None = measured("mean", "fan", "%")
    hotspot_c: float | None = measured("max", "hot spot", "°C", short="hot")
    fan_start_pct: float | None = measured("first", "fan at the start", "%", of="fan_pct")
    fan_end_pct: float | None = measured("last", "fan at the end", "%", of="fan_pct")
    fault_bits: int | None = measured("bits", "faults", "")


class WiderWindow(Window):
    kind = WiderUsage


class WiderThinner(Thinner):
    kind = WiderRow


READINGS = ("fan_pct", "fan_w", "dram_energy_j", "pcie_mib", "hotspot_c", "links", "fault_bits")


def read(at_s: float, *values: float) -> Sample:
    return sample(at_s, **dict(zip(READINGS, values, strict=True)))


SAMPLES = [
    read(0.0, 10.0, 2.0, 500.0, 7.0, 60.0, 1.0, 1.0),
    read(1.0, 30.0, 4.0, 510.0, 7.5, 80.0, 2.0, 4.0),
    read(2.0, 20.0, 2.0, 530.0, 9.0, 70.0, 1.0, 4.0),
]


def summed(*samples: Sample) -> WiderUsage:
    whole = WiderWindow(samples[0], 0.0)
    for each in samples[1:]:
        whole.add(each)
    usage = whole.usage()
    assert isinstance(usage, WiderUsage)
    return usage


def test_a_window_sums_up_new_fields_of_every_aggregation() -> None:
    found = summed(*SAMPLES)
    assert found.fan_pct == pytest.approx((20 + 25) / 2)
    assert found.fan_energy_j == pytest.approx(6)
    assert (found.dram_energy_j, found.pcie_mib, found.hotspot_c) == (30, 2, 80)
    assert (found.fan_start_pct, found.fan_end_pct) == (10, 20)
    assert (found.links, found.fault_bits) == (2, 5)
    assert type(found.links) is type(found.fault_bits) is int
    assert {field.aggregation for field in meter_fields(WiderUsage).values()} == set(get_args(Aggregation))


def test_new_fields_that_no_meter_reads_have_a_reason_and_new_energies_need_a_second() -> None:
    new = [field.name for field in fields(WiderUsage) if field.name not in {f.name for f in fields(Usage)}]
    unread = Sample(0.0, {}, dict.fromkeys(READINGS, "no_driver"))
    found = summed(unread, Sample(2.0, {}, unread.missing))
    assert {getattr(found, name) for name in new} == {None}
    assert {found.missing[name] for name in new} == {"no_driver"}
    short = summed(SAMPLES[0], read(0.5, *(SAMPLES[1].values[name] for name in READINGS)))
    assert {name for name, why in short.missing.items() if why == "short"} == {"fan_energy_j", "dram_energy_j"}
    assert short.pcie_mib == 0.5


def test_a_second_is_thinned_with_its_new_fields() -> None:
    thinner = WiderThinner(0.0, lambda: "unsupported")
    for each in (SAMPLES[0], read(0.5, *SAMPLES[1].values.values()), read(1.0, *SAMPLES[2].values.values())):
        thinner(each)
    (row,) = thinner.drain()
    assert isinstance(row, WiderRow)
    assert (row.fan_pct, row.hotspot_c, row.fan_start_pct, row.fan_end_pct) == (20, 80, 10, 20)
    assert row.fault_bits == 5
    assert row.power_w is None


def test_new_fields_have_labels_and_are_stored_in_columns_of_their_names(tmp_path: Path) -> None:
    field = meter_fields(WiderRow)["hotspot_c"]
    assert field == MeterField("hotspot_c", "max", "hotspot_c", "hot spot", "°C", "hot", "", is_whole=False)
    path = tmp_path / "runs.db"
    life = Life(path)
    run_id = life.create_run(spec_json=SPEC, spec_hash="s", group_hash="g", origins={})
    connection = sqlite3.connect(path)
    for table, wide, narrow in (("phases", WiderUsage, Usage), ("samples", WiderRow, SampleRow)):
        for each in meter_fields(wide).values():
            if each.name not in meter_fields(narrow):
                kind = "INTEGER" if each.is_whole else "REAL"
                connection.execute(f"ALTER TABLE {table} ADD COLUMN {each.name} {kind}")
    usage, row = summed(*SAMPLES), WiderRow(1, 1.0, "train", hotspot_c=80.0, fault_bits=5)
    life.put_phases(run_id, [Phase("train", 1, None, None, 2.0, usage=usage)])
    life.put_samples(run_id, [row])
    life.close()
    connection.row_factory = sqlite3.Row
    for table, told in (("phases", usage), ("samples", row)):
        stored = dict(connection.execute(f"SELECT * FROM {table}").fetchone())
        expected = {name: value for name, value in asdict(told).items() if name != "missing"}
        assert {name: stored[name] for name in expected} == expected
    connection.close()


@pytest.mark.parametrize(("kind", "field"), TABLES, ids=[f"{kind.__name__}.{field.name}" for kind, field in TABLES])
def test_every_field_has_a_label_its_unit_and_a_reading_that_a_meter_gives(kind: type, field: MeterField) -> None:
    assert field.label and field.label == field.label.strip()
    assert field.unit == UNITS.get(field.name.rpartition("_")[2], "")
    assert (field.of == "") if field.aggregation == "computed" else (field.of in FIELDS)


def test_every_field_but_those_of_the_stretch_itself_is_in_the_table() -> None:
    outside = {kind: {f.name for f in fields(kind)} - set(meter_fields(kind)) for kind in (Usage, SampleRow)}
    assert outside == {
        Usage: {"started_s", "window_s", "samples", "counter_resets", "missing"},
        SampleRow: {"sequence", "at_s", "phase"},
    }


def test_every_field_has_a_column_of_its_type(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    Life(path).close()
    connection = sqlite3.connect(path)
    for table, kind in (("phases", Usage), ("samples", SampleRow)):
        types = {name: of for _, name, of, *_ in connection.execute(f"PRAGMA table_info({table})")}
        assert {f.name for f in fields(kind)} <= set(types)
        for field in meter_fields(kind).values():
            assert types[field.name] == ("INTEGER" if field.is_whole else "REAL"), field.name
    connection.close()


@pytest.mark.parametrize("values", [dict.fromkeys(FIELDS, 1.0), {}])
def test_a_window_gives_every_field_a_value_or_a_reason(values: dict[str, float]) -> None:
    whole = Window(sample(0.0, **values), 0.0)
    whole.add(sample(2.0, **values))
    usage = whole.usage()
    for name in set(meter_fields(Usage)) - OUTSIDE_WINDOWS:
        assert (getattr(usage, name) is None) == (name in usage.missing), name


def test_every_aggregation_is_known_to_windows_and_those_of_samples_to_thinning() -> None:
    assert {"mean", "integral", "growth", "computed", *window._TOGETHER} == set(get_args(Aggregation))
    assert {f.aggregation for f in meter_fields(SampleRow).values()} <= {"computed", *thinning._OF_A_SECOND}


def test_the_curves_and_strips_that_derive_from_the_table() -> None:
    drawn = set(meter_fields(SampleRow)) - {"power_peak_w", "event_reasons"}
    assert list(tensorboard._METERS) == [name for name in meter_fields(SampleRow) if name in drawn]
    assert [(strip.name, strip.unit, strip.of_card) for strip in (*CARD_STRIPS, *HOST_STRIPS)] == [
        ("VRAM", "GiB", True),
        ("power", "W", True),
        ("SM clock", "MHz", True),
        ("temperature", "°C", True),
        ("GPU utilisation", "%", True),
        ("memory (RSS)", "GiB", False),
        ("CPU", "% of a core", False),
        ("others' CPU", "% of a core", False),
    ]
    row = SampleRow(1, 1.0, None, power_w=5.0, reserved_mib=2048.0, rss_mib=1024.0, cpu_pct=50.0, others_cpu_pct=7.0)
    assert [strip.value(row) for strip in (*CARD_STRIPS, *HOST_STRIPS)] == [
        *(2.0, 5.0, None, None, None),
        *(1.0, 50.0, 7.0),
    ]
