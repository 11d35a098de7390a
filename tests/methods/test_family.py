"""Every method beyond LoRA and DoRA: trained weights, initialisation, and additions to a step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import peft
import pytest
import torch
from peft.optimizers import create_loraplus_optimizer
from torch import nn

from peftbench.data.batches import Batcher
from peftbench.data.encode import EncodedSplit, Ragged
from peftbench.encoder import find_encoder, load_encoder
from peftbench.errors import MissingError, UsageError
from peftbench.methods.options import DeltaLoraOptions
from peftbench.methods.registry import method_info, registered
from peftbench.model import MultitaskModel
from peftbench.spec import Resolved
from tests.methods.presets import BEYOND_LORA as ALL
from tests.methods.presets import NEARLY_PRETRAINED
from tests.tiny import TASKS

CPU = torch.device("cpu")

HIDDEN, LAYERS, INNER = 32, 2, 48  # of the tiny encoder
WEIGHTS_A_TASK = {
    "loraplus-r12": LAYERS * 3 * 12 * 2 * HIDDEN,
    "delta-lora-r12": LAYERS * 3 * 12 * 2 * HIDDEN,
    "lora-r12-all": LAYERS * 12 * (4 * 2 * HIDDEN + 2 * (HIDDEN + INNER)),
    "dora-r12-all": LAYERS * (12 * (4 * 2 * HIDDEN + 2 * (HIDDEN + INNER)) + 5 * HIDDEN + INNER),
    "lora-r12-peft": LAYERS * 3 * 12 * 2 * HIDDEN,
    "dora-r12-peft": LAYERS * 3 * (12 * 2 * HIDDEN + HIDDEN),
    "rslora-r12": LAYERS * 3 * 12 * 2 * HIDDEN,
    "pissa-r12": LAYERS * 3 * 12 * 2 * HIDDEN,
    "adalora-r12": LAYERS * 3 * (12 * 2 * HIDDEN + 12),
    "vera-r256": LAYERS * 3 * (256 + HIDDEN),
    "ia3": LAYERS * (2 * HIDDEN + INNER),
    "ln-tuning": (LAYERS * 2 + 1) * 2 * HIDDEN,
}


def build(resolved: Resolved) -> MultitaskModel:
    spec = resolved.spec
    return MultitaskModel(load_encoder(spec.encoder, find_encoder(spec.encoder)), spec)


def batch(model: MultitaskModel, seed: int = 0) -> object:
    lengths = [5, 12, 5, 9]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.random.default_rng(seed).integers(1000, 30000, offsets[-1]).astype(np.int32)
    part = Ragged(ids, np.zeros_like(ids), offsets)
    split = EncodedSplit((part,), np.array([0.0, 1.0, 1.0, 0.0]), tuple("abcd"), 0, False)
    return model.batcher(0)(split, [0, 1, 2, 3])


def step(model: MultitaskModel, optimizer: torch.optim.Optimizer, task: str) -> float:
    model.switch_mode(task)
    texts = batch(model)
    loss = (model(texts)[:, 0] - texts.labels).square().mean()
    penalty = model.method.penalty(task)
    optimizer.zero_grad()
    (loss if penalty is None else loss + penalty).backward()
    optimizer.step()
    model.method.after_step(task)
    return float(loss.detach())


@torch.no_grad()
def outputs(model: MultitaskModel) -> dict[str, torch.Tensor]:
    """The logits of the tasks but sts, in evaluation."""
    model.eval()
    logits = {}
    for task in ("sst", "paraphrase"):
        model.switch_mode(task)
        logits[task] = model(batch(model))
    model.train()
    return logits


@pytest.mark.parametrize("preset", ALL)
class TestEach:
    def test_trains_as_many_weights_as_its_formula_says(self, preset: str, tiny: Callable[..., Resolved]) -> None:
        model = build(tiny(preset))
        own = [weight for name, weight in model.trainable_of("sts").items() if not name.startswith("heads.")]
        if preset in WEIGHTS_A_TASK:
            assert sum(weight.numel() for weight in own) == WEIGHTS_A_TASK[preset]
        assert own
        assert {name for task in TASKS for name in model.trainable_of(task)} == model.trainable().keys()

    def test_starts_from_the_pretrained_function_in_every_task(
        self, preset: str, tiny: Callable[..., Resolved]
    ) -> None:
        model, plain = build(tiny(preset)).prepare(CPU).eval(), build(tiny("last-layer")).prepare(CPU).eval()
        expected = plain.pooled(batch(plain).texts[0])
        within = 0.02 if preset in NEARLY_PRETRAINED else 2e-5
        for task in TASKS:
            model.switch_mode(task)
            torch.testing.assert_close(model.pooled(batch(model).texts[0]), expected, atol=within, rtol=within)

    def test_a_step_of_one_task_leaves_the_others_alone(self, preset: str, tiny: Callable[..., Resolved]) -> None:
        model = build(tiny(preset, ["encoder.dropout=0", "head.dropout=0"])).prepare(CPU).train()
        model.method.plan(dict.fromkeys(TASKS, 100))
        optimizer = torch.optim.AdamW(model.method.parameter_groups(model.trainable(), 1e-2), weight_decay=0.0)
        step(model, optimizer, "sst")  # the optimiser has state for every task from now on
        step(model, optimizer, "sts")
        before = {name: weight.detach().clone() for name, weight in model.trainable().items()}
        others = outputs(model)
        losses = [step(model, optimizer, "sts") for _ in range(8)]
        changed = {n for n, weight in model.trainable().items() if not torch.equal(weight, before[n])}
        assert changed <= model.trainable_of("sts").keys()
        assert {name.rsplit(".", 1)[0] for name in changed} - {"heads.sts.1"}
        assert losses[-1] < losses[0]
        assert all(torch.equal(logits, others[task]) for task, logits in outputs(model).items())

    def test_the_seed_decides_its_start(self, preset: str, tiny: Callable[..., Resolved]) -> None:
        def start(seed: int) -> dict[str, torch.Tensor]:
            torch.manual_seed(seed + 100)
            return dict(build(tiny(preset, seed=seed)).saved())

        one, same = start(1), start(1)
        assert one.keys() == same.keys()
        assert all(torch.equal(one[name], same[name]) for name in one)


class TestLoraPlus:
    @pytest.mark.parametrize("runtime", ["native", "peft"])
    def test_its_groups_are_those_of_pefts_optimiser(self, runtime: str, tiny: Callable[..., Resolved]) -> None:
        model = build(tiny("loraplus-r12", [f"runtime={runtime}"]))
        rates = {}
        for group in model.method.parameter_groups(model.trainable(), 1e-4):
            rates |= {id(weight): group["lr"] for weight in group["params"]}
        if runtime == "native":
            assert {rates[id(w)] for name, w in model.trainable().items() if name.endswith(".B")} == {16e-4}
            assert {rates[id(w)] for name, w in model.trainable().items() if not name.endswith(".B")} == {1e-4}
            return
        theirs = create_loraplus_optimizer(model.method.model, torch.optim.AdamW, lr=1e-4, loraplus_lr_ratio=16.0)
        for group in theirs.param_groups:
            for weight in group["params"]:
                assert rates[id(weight)] == pytest.approx(group["lr"])


class TestDeltaLora:
    def test_is_the_papers_algorithm_step_by_step(self) -> None:
        """Against W updated in place after every step, as in the paper."""
        torch.manual_seed(0)
        base = nn.Sequential()
        base.add_module("query", nn.Linear(10, 7))
        chosen = DeltaLoraOptions(name="delta-lora", rank=3, alpha=6.0, targets=("query",), start=4, ratio=0.5)
        method = method_info("delta-lora").load()(chosen)
        reference = nn.Linear(10, 7)
        reference.load_state_dict(base.query.state_dict())
        method.attach(base, ["t"], seed=0)
        ours = base.query.adapters["t"]
        A, B = (nn.Parameter(weight.detach().clone()) for weight in (ours.A, ours.B))
        optimizers = [torch.optim.AdamW(weights, lr=0.05) for weights in ([ours.A, ours.B], [A, B])]
        W, scale = reference.weight.detach().clone(), 2.0
        for number in range(1, 13):
            x, target = torch.randn(5, 10), torch.randn(5, 7)
            h = x @ W.T + reference.bias + scale * (x @ A.T) @ B.T
            torch.testing.assert_close(base(x), h, atol=1e-5, rtol=1e-5)
            before = (B @ A).detach()
            for optimizer, out in zip(optimizers, (base(x), h), strict=True):
                optimizer.zero_grad()
                (out - target).square().mean().backward()
                optimizer.step()
            torch.testing.assert_close(ours.A, A, atol=1e-5, rtol=1e-5)
            method.after_step("t")
            if number > 4:
                W += 0.5 * scale * ((B @ A).detach() - before)
        torch.testing.assert_close(ours.weight(reference), W + scale * (B @ A), atol=1e-5, rtol=1e-5)

    def test_changed_w_is_saved_and_used_by_the_fast_path(self, tiny: Callable[..., Resolved]) -> None:
        overrides = ["method.start=2", "encoder.dropout=0", "head.dropout=0"]
        models = []
        for runtime in ("native", "transformers"):
            model = build(tiny("delta-lora-r12", [*overrides, f"runtime={runtime}"])).prepare(CPU).train()
            optimizer = torch.optim.AdamW(model.trainable().values(), lr=1e-2)
            for _ in range(6):
                step(model, optimizer, "sst")
            models.append(model)
        native, plain = models
        assert float(native.saved("sst")["encoder.encoder.layer.0.attention.self.query.adapters.sst.moving"]) == 1
        torch.testing.assert_close(native(batch(native)), plain(batch(plain)), atol=1e-4, rtol=1e-4)


class TestAdaLora:
    @pytest.mark.slow
    def test_ranks_fall_to_the_target_in_each_task_by_its_own_steps(self, tiny: Callable[..., Resolved]) -> None:
        model = build(tiny("adalora-r12", ["method.every=1", "encoder.dropout=0"])).prepare(CPU).train()
        model.method.plan({"sst": 40, "paraphrase": 20, "sts": 20})
        optimizer = torch.optim.AdamW(model.trainable().values(), lr=1e-2)

        def ranks(task: str) -> int:
            return sum(
                int((weight != 0).sum()) for name, weight in model.trainable_of(task).items() if "lora_E" in name
            )

        for _ in range(13):
            step(model, optimizer, "paraphrase")
            step(model, optimizer, "sst")
        targets = LAYERS * 3
        assert ranks("paraphrase") == 8 * targets
        assert 8 * targets < ranks("sst") < 12 * targets
        for _ in range(27):
            step(model, optimizer, "sst")
        assert ranks("sst") == 8 * targets

    @pytest.mark.parametrize("steps", [1, 2])
    def test_too_few_steps_to_score_ranks_are_refused(self, steps: int, tiny: Callable[..., Resolved]) -> None:
        model = build(tiny("adalora-r12"))
        with pytest.raises(UsageError, match=f"{steps} steps of task sts are too few"):
            model.method.plan({"sst": 30, "paraphrase": 30, "sts": steps})
        model.method.plan({"sst": 30, "paraphrase": 30, "sts": 3})

    def test_the_penalty_is_pefts(self, tiny: Callable[..., Resolved]) -> None:
        model = build(tiny("adalora-r12", ["method.orthogonal=0.3"]))
        model.switch_mode("sts")
        tuner = model.method.model.base_model
        tuner.trainable_adapter_name = "task-sts"

        class Loss:
            loss = torch.zeros(())

        forward, tuner.model.forward = tuner.model.forward, lambda: Loss()
        theirs = tuner.forward().loss
        tuner.model.forward = forward
        torch.testing.assert_close(model.method.penalty("sts"), theirs)


class TestRefusals:
    def test_a_method_that_this_peft_lacks_is_named(self, tiny, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(peft, "OFTConfig")
        with pytest.raises(MissingError, match="has no OFTConfig"):
            build(tiny("oft-b32"))

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["method.peft_type=LOHAA"], "no such type; did you mean 'LOHA'"),
            (["method.config.wrong=1"], "LoHaConfig rejects it"),
            (['method.config.target_modules=["nowhere"]'], "rejects it"),
            (["method.peft_type=PREFIX_TUNING"], "rejects it|prompt methods"),
        ],
    )
    def test_a_configuration_that_peft_rejects_is_a_usage_error(self, overrides, message: str, tiny) -> None:
        with pytest.raises(UsageError, match=message):
            build(tiny("loha-r8", overrides))

    def test_the_literal_norm_axis_is_not_pefts(self, tiny) -> None:
        with pytest.raises(UsageError, match="norm_axis"):
            build(tiny("dora-r12-peft", ["method.norm_axis=input"]))

    @pytest.mark.parametrize(
        ("preset", "runtime"),
        [("full", "peft"), ("last-layer", "peft"), ("vera-r256", "native"), ("delta-lora-r12", "peft")],
    )
    def test_a_runtime_that_a_method_does_not_have(self, preset: str, runtime: str, tiny) -> None:
        with pytest.raises(UsageError, match="has no runtime"):
            tiny(preset, [f"runtime={runtime}"])

    def test_layers_that_do_not_exist(self, tiny) -> None:
        with pytest.raises(UsageError, match="no layer 6"):
            build(tiny("lora-r12-top6"))

    @pytest.mark.parametrize("layers", ["x", "3-1", "", "1;2", "-1"])
    def test_layers_that_are_not_numbers(self, layers: str, tiny) -> None:
        with pytest.raises(UsageError, match="layer numbers"):
            tiny("lora-r12", [f'method.layers="{layers}"'])


def test_layers_keeps_the_adapters_of_those_layers(tiny: Callable[..., Resolved]) -> None:
    for preset in ("lora-r12", "vera-r256"):
        names = {name for name in build(tiny(preset, ['method.layers="1"'])).trainable_of("sst") if "layer" in name}
        assert names
        assert all(".layer.1." in name for name in names)


def test_every_method_reports_whether_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(info.is_installed() for info in registered().values())
    monkeypatch.setattr("peftbench.methods.registry.find_spec", lambda name: None)
    assert {name for name, info in registered().items() if info.is_installed()} >= {"lora", "dora", "full"}
    assert not method_info("vera").is_installed()


def test_a_padded_batch_is_what_peft_computes(tiny: Callable[..., Resolved]) -> None:
    model = build(tiny("lora-r12-peft")).prepare(CPU)
    assert model.path == "peft"
    assert model.batcher(0) == Batcher(False, 0, CPU)
