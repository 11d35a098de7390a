"""Cost of a run on a GPU, and its flags: each flag is raised by its cause and by nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from peftbench.analysis.comparison import compare
from peftbench.analysis.cost import cost, reach
from peftbench.analysis.cost_comparison import cost_difference, group_cost
from peftbench.analysis.flags import flags
from peftbench.analysis.groups import Group
from peftbench.store.rows import Epoch, Phase, RunRecord, Score
from tests.factories import CARD_CONDITIONS as GPU
from tests.factories import QUIET_CONDITIONS as QUIET
from tests.factories import on_a_card, phase
from tests.factories import record as plain_record
from tests.meters.fakes import usage


def names(record: RunRecord) -> list[str]:
    return [flag.name for flag in flags(record)]


def resumed(**of: Any) -> RunRecord:
    """Return a run executed by two workers, a day apart."""
    base = on_a_card()
    day = 86_400.0
    phases = (
        phase("load", 3.0, epoch=None, energy_j=400.0),
        phase("train", 10.0, "sst", energy_j=1000.0),
        phase("run", 50.0, epoch=None, energy_j=3600.0),
        replace(phase("load", 3.0, epoch=None, started_s=day), attempt=2),
        replace(phase("train", 10.0, "sst", started_s=day, energy_j=1000.0), attempt=2),
        replace(phase("eval", 2.0, "sst", started_s=day, energy_j=1000.0), attempt=2),
        replace(phase("run", 40.0, epoch=None, started_s=day, energy_j=7200.0), attempt=2),
    )
    left = phases if of.get("both", True) else (*phases[:2], *phases[3:])
    run = replace(base.run, attempt=2, started_at="2026-01-01T00:00:00Z", finished_at="2026-01-02T00:00:00Z")
    return replace(base, run=run, phases=left)


class TestCost:
    def test_what_a_resumed_run_cost_is_what_its_workers_cost_together(self) -> None:
        spent = cost(resumed())
        assert spent.run_s == 90.0, "not the day between them"
        assert spent.run_wh == pytest.approx((3600 + 7200) / 3600)

    def test_what_a_worker_that_was_killed_cost_is_not_known(self) -> None:
        spent = cost(resumed(both=False))
        assert (spent.run_s, spent.run_wh) == (None, None)

    def test_a_resumed_run_is_flagged_with_unknown_figures(self) -> None:
        said = {flag.name: flag.message for flag in flags(resumed())}
        assert said["resumed"] == "run by 2 workers one after another"
        said = {flag.name: flag.message for flag in flags(resumed(both=False))}
        assert said["resumed"].endswith("1 left no final measurement, so the run's total time and energy are unknown")
        assert "resumed" not in names(on_a_card())

    def test_the_columns_of_the_studys_table(self) -> None:
        spent = cost(on_a_card())
        assert (spent.vram_mib, spent.vram_source) == (1200, "process")
        assert spent.its["sst"] == 4.0
        assert spent.power_w["sst"] == 100.0
        assert spent.j_per_step["sst"] == 25.0
        assert spent.j_per_1k_examples["sst"] == 3125.0
        assert spent.energy_source == "counter"

    def test_a_runs_energy_is_that_of_its_one_window_gross_and_net_of_idle(self) -> None:
        spent = cost(on_a_card())
        assert spent.run_wh == pytest.approx(2.0)
        assert spent.idle_power_w == 20.0
        assert spent.net_wh == pytest.approx((7200 - 20 * 100) / 3600)

    def test_the_memory_is_trainings_and_evaluation_has_its_own(self) -> None:
        found = on_a_card()
        wide = Phase("eval", 1, "sts", "dev", 2.0, usage=usage(2.0, process_vram_mib=3000.0))
        spent = cost(replace(found, phases=(*found.phases, wide)))
        assert (spent.vram_mib, spent.eval_vram_mib) == (1200, 3000)

    def test_energy_without_a_counter_is_integrated_and_flagged(self) -> None:
        spent = cost(on_a_card(train={"energy_j": None, "missing": {"energy_j": "unsupported"}}))
        assert (spent.j_per_step["sst"], spent.energy_source) == (25.25, "integrated")

    def test_a_counter_that_was_lost_is_not_replaced(self) -> None:
        spent = cost(on_a_card(train={"energy_j": None, "missing": {"energy_j": "lost"}}))
        assert (spent.j_per_step, spent.energy_source) == ({}, None)

    def test_energy_a_step_is_over_the_phases_that_have_energy(self) -> None:
        whole = on_a_card()
        short = Phase("train", 2, "sst", None, 0.4, steps=4, examples=32, usage=usage(0.4, energy_j=None))
        assert cost(replace(whole, phases=(*whole.phases, short))).j_per_step["sst"] == 25.0

    def test_vram_falls_back_to_the_card_and_then_to_torch(self) -> None:
        no_process = on_a_card()
        without = tuple(replace(p, usage=replace(p.usage, process_vram_mib=None)) for p in no_process.phases)
        assert cost(replace(no_process, phases=without)).vram_source == "device"
        bare = tuple(
            replace(p, usage=replace(p.usage, device_delta_mib=None, peak_reserved_mib=900.0)) for p in without
        )
        assert cost(replace(no_process, phases=bare)).vram_mib == 900

    def test_a_run_without_meters_has_no_zero_anywhere(self) -> None:
        spent = cost(plain_record())
        assert (spent.vram_mib, spent.run_wh, spent.idle_power_w, spent.cpu_wh) == (None, None, None, None)
        assert (spent.power_w, spent.j_per_step, spent.j_per_1k_examples) == ({}, {}, {})


class TestReach:
    def record(self) -> RunRecord:
        base = on_a_card()
        later = phase("eval", 2.0, "sst", epoch=2, started_s=140.0, energy_so_far_j=9000.0)
        scores = tuple(
            Score(epoch, "sst", "dev", "accuracy", value, None, 0.5, 9) for epoch, value in ((1, 0.4), (2, 0.5))
        )
        epochs = tuple(Epoch(n, value, None, None, "t") for n, value in ((1, 0.6), (2, 0.7)))
        return replace(base, epochs=epochs, scores=scores, phases=(*base.phases, later))

    def test_energy_and_time_count_from_the_end_of_what_was_before_the_first_epoch(self) -> None:
        found = reach(self.record(), 0.4, "sst")
        assert (found.epoch, found.value, found.energy_j) == (1, 0.4, 4000.0)
        assert found.seconds == pytest.approx(82 - 35)
        assert reach(self.record(), 0.65).energy_j == 8400.0

    def test_the_idle_time_of_a_resumed_run_is_excluded(self) -> None:
        """Stopped within epoch 1 and resumed hours later: the time of its epochs' phases counts, for both workers."""
        base = resumed()
        found = reach(replace(self.record(), run=base.run, phases=base.phases), 0.4, "sst")
        assert (found.seconds, found.energy_j) == (10.0 + 10.0 + 2.0, 3 * 1000.0)

    def test_a_score_that_was_never_reached_has_no_cost(self) -> None:
        assert reach(self.record(), 0.51, "sst") is None
        assert reach(self.record(), 0.9) is None

    def test_unknown_energy_is_none(self) -> None:
        whole = self.record()
        blind = tuple(replace(p, usage=replace(p.usage, energy_so_far_j=None)) for p in whole.phases)
        assert reach(replace(whole, phases=blind), 0.4, "sst").energy_j is None


class TestFlags:
    def test_a_run_measured_as_it_should_be_has_none(self) -> None:
        assert names(on_a_card()) == []

    def test_a_run_from_before_there_were_meters_has_none(self) -> None:
        assert names(plain_record()) == []

    @pytest.mark.parametrize(
        ("flag", "of"),
        [
            ("clocks_not_locked", {"conditions": {"clock_lock": None}}),
            ("cpu_only", {"conditions": {"gpu_computes": False}}),
            ("meter_failed", {"conditions": {"sampler": {"failure": "boom"}}}),
            ("shared_gpu", {"train": {"foreign_processes": 1}}),
            ("throttled", {"train": {"event_reasons": 0x40, "throttled_s": 3.0}}),
            ("throttled", {"train": {"event_reasons": 0x80, "throttled_s": 0.1}}),
            ("throttled", {"train": {"violation_thermal_s": 2.0}}),
            ("counter_stuck", {"run": {"missing": {"energy_j": "stuck"}}}),
            ("sparse_samples", {"conditions": {"sampler": {"median_ms": 2000.0}}}),
            ("card_not_read", {"conditions": {"gpu": None, "meters": {"nvml": {"detail": "which?"}}}}),
            ("clocks_not_held", {"train": {"sm_clock_mhz": 1500.0}}),
            ("lost", {"train": {"missing": {"temperature_end_c": "lost"}}}),
            ("counter_disagrees", {"run": {"missing": {}}, "disagree": 0.06}),
            ("counter_reset", {"run": {"counter_resets": 1}}),
            ("short_window", {"train": {"samples": 50}}),
            ("short_window", {"train": {"energy_j": None, "missing": {"energy_j": "short"}}}),
            ("short_window", {"train": {"window_s": 5.0}}),
            (
                "short_window",
                {
                    "train": {
                        "energy_j": None,
                        "energy_integrated_j": None,
                        "missing": {"energy_j": "unsupported", "energy_integrated_j": "short"},
                    }
                },
            ),
            ("no_idle", {"idle": None}),
            ("part_time_sensor", {"conditions": {"gpu": GPU | {"part_time_sensor": True}}}),
            ("mig", {"conditions": {"gpu": GPU | {"mig": True}}}),
            ("swap", {"train": {"swap_mib": 12.0}}),
            ("busy_machine", {"train": {"others_cpu_s": 15.0}}),
        ],
    )
    def test_each_has_its_cause(self, flag: str, of: dict[str, Any]) -> None:
        off = of.pop("disagree", None)
        found = on_a_card(**of)
        if off is not None:
            *others, whole = found.phases
            whole = replace(whole, usage=replace(whole.usage, energy_integrated_j=7200 * (1 + off)))
            found = replace(found, phases=(*others, whole))
        assert names(found) == [flag]

    @pytest.mark.parametrize(
        "of",
        [
            {"train": {"event_reasons": 0x4 | 0x1 | 0x2}},  # power cap, idle, application clocks
            {"train": {"sm_clock_mhz": 1680.0}},
            {"train": {"swap_mib": 0.5}},
            {"train": {"others_cpu_s": 5.0}},
            {"train": {"missing": {"peak_allocated_mib": "unsupported"}}},
        ],
    )
    def test_harmless_readings_raise_no_flag(self, of: dict[str, Any]) -> None:
        assert names(on_a_card(**of)) == []

    def test_a_slice_without_power_is_flagged_all_the_same(self) -> None:
        found = on_a_card(conditions={"gpu": GPU | {"mig": True}})
        blind = tuple(replace(p, usage=replace(p.usage, power_w=None)) for p in found.phases)
        assert names(replace(found, phases=blind)) == ["mig"]

    def test_a_clock_that_shows_its_lock_only_under_load_is_held(self) -> None:
        at_rest = QUIET["clock_lock"] | {"read_mhz": 210.0, "held": False}
        assert names(on_a_card(conditions={"clock_lock": at_rest})) == []
        blind = on_a_card(conditions={"clock_lock": at_rest}, train={"sm_clock_mhz": None})
        assert names(blind) == ["clocks_not_held"]

    def test_a_lock_that_could_not_be_undone_is_flagged(self) -> None:
        lock = QUIET["clock_lock"] | {"undone": False}
        assert names(on_a_card(conditions={"clock_lock": lock})) == ["clocks_left_locked"]

    def test_a_short_idle_is_indicative(self) -> None:
        found = on_a_card()
        first, *others = found.phases
        assert names(replace(found, phases=(replace(first, wall_s=5.0), *others))) == ["short_idle"]
        assert names(replace(found, phases=(replace(first, wall_s=29.99), *others))) == []


class TestFairness:
    def confounding(self, *runs: RunRecord) -> dict[str, tuple[Any, ...]]:
        return {difference.key: difference.values for difference in compare(runs).confounding}

    def test_two_runs_on_one_card_are_alike(self) -> None:
        assert self.confounding(on_a_card(), on_a_card()) == {}

    @pytest.mark.parametrize(
        ("key", "value"), [("name", "NVIDIA A40"), ("uuid", "GPU-2"), ("power_limit_w", 250.0), ("driver", "535")]
    )
    def test_another_card_or_limit_is_named(self, key: str, value: object) -> None:
        other = on_a_card(conditions={"gpu": GPU | {key: value}})
        assert self.confounding(on_a_card(), other) == {f"gpu.{key}": (GPU.get(key), value)}

    def test_locked_clocks_against_free_ones_are_named(self) -> None:
        assert self.confounding(on_a_card(), on_a_card(conditions={"clock_lock": None})) == {
            "clocks locked at MHz": (1695, None)
        }

    @pytest.mark.parametrize(
        ("flag", "train"),
        [
            ("throttled", {"event_reasons": 0x40, "throttled_s": 3.0}),
            ("shared_gpu", {"foreign_processes": 1}),
            ("busy_machine", {"others_cpu_s": 15.0}),
        ],
    )
    def test_what_disturbed_one_run_alone_is_named(self, flag: str, train: dict[str, Any]) -> None:
        assert self.confounding(on_a_card(), on_a_card(train=train)) == {flag: (False, True)}
        assert self.confounding(on_a_card(train=train), on_a_card(train=train)) == {}


def cold(record: RunRecord, seconds: float) -> RunRecord:
    """Return the run as if it had tokenised its data first: longer, with a higher peak while loading."""
    conditions = {**record.run.conditions, "tokenised": {"splits": ["sst/train"], "seconds": seconds}}
    phases = [replace(p, peak_rss_mib=9000.0) if p.phase in ("load", "run") else p for p in record.phases]
    ends = f"2026-01-01T10:{int(40 + seconds) // 60:02d}:{(40 + seconds) % 60:06.3f}Z"
    run = replace(record.run, conditions=conditions, started_at="2026-01-01T10:00:00.000Z", finished_at=ends)
    return replace(record, run=run, phases=tuple(phases))


def with_rss(record: RunRecord) -> RunRecord:
    phases = [replace(p, peak_rss_mib={"train": 800.0, "eval": 700.0}.get(p.phase, 900.0)) for p in record.phases]
    return replace(record, phases=tuple(phases))


def test_the_peak_of_memory_is_that_of_training_and_evaluation() -> None:
    warm = with_rss(on_a_card())
    assert cost(warm).peak_rss_mib == cost(cold(warm, 30.0)).peak_rss_mib == 800.0
    untold = replace(
        warm, phases=tuple(replace(p, peak_rss_mib=950.0 if p.phase == "run" else None) for p in warm.phases)
    )
    assert cost(untold).peak_rss_mib == 950.0


@pytest.mark.parametrize(("seconds", "flagged"), [(0.0, False), (0.5, False), (2.5, True), (60.0, True)])
def test_a_run_that_spent_a_part_of_its_time_on_tokens_is_flagged(seconds: float, flagged: bool) -> None:
    record = cold(on_a_card(), seconds)
    assert cost(record).run_s == pytest.approx(40 + seconds)
    assert ("cold_cache" in names(record)) == cost(record).cold_cache == flagged


def test_a_cold_and_a_warm_run_of_one_spec_cost_the_same() -> None:
    warm = with_rss(on_a_card())
    slow, warm = cold(warm, 60.0), cold(warm, 0.0)
    assert (cost(slow).run_s, cost(warm).run_s) == (100.0, 40.0)
    sides = [group_cost(Group("a", (each,))) for each in (slow, warm)]
    assert cost_difference("run_s", *sides) is None
    assert cost_difference("run_wh", *sides) is None
    memory, training = (cost_difference(figure, *sides) for figure in ("peak_rss_mib", "train_s"))
    assert memory is not None and training is not None
    assert (memory.ratio, training.ratio) == (0, 0)
    both = [group_cost(Group("a", (each,))) for each in (slow, slow)]
    assert cost_difference("run_s", *both) is not None
