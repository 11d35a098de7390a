"""Encoder families, tiny and random: trained, exported, loaded again, with the same predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from peftbench.encoder import load_encoder, load_tokenizer
from peftbench.interchange.merged import export_merged
from peftbench.interchange.peft_format import export_peft
from peftbench.interchange.trained import TrainedRun, around, probe
from peftbench.spec import resolve
from tests.encoder.families import FAMILIES, save_family
from tests.marks import soaked_but
from tests.recorders import train
from tests.tiny import tiny_overrides

WITHOUT_ADAPTERS = ("squeezebert",)
ONLY_MLP = ("xlnet", "fnet")  # no linear layers in their attention
PRESETS = ("last-layer", "full", "lora-r12", "dora-r12")
TOLERANCE = 1e-5

# Each of the larger families once, and each method with encoders whose layers are called otherwise than BERT's.
QUICK = [
    *((name, "lora-r12") for name in ("roberta", "xlm-roberta", "distilbert", "albert", "electra", "mpnet", "deberta")),
    *((name, "lora-r12") for name in ("deberta-v3", "nomic_bert", "eurobert", "xlnet", "big_bird", "longformer")),
    *((name, "dora-r12") for name in ("bert", "modernbert", "t5", "deberta-v2", "camembert", "funnel", "flaubert")),
    *((name, "full") for name in ("t5", "squeezebert")),
    *((name, "last-layer") for name in ("longformer", "fnet")),
]
ALL = [(name, preset) for name in FAMILIES for preset in PRESETS if name not in WITHOUT_ADAPTERS or "ora" not in preset]


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
@pytest.mark.parametrize(("name", "preset"), soaked_but(QUICK, ALL))
def test_what_was_trained_and_exported_is_loaded_with_the_same_predictions(
    name: str, preset: str, tmp_path: Path
) -> None:
    folder = save_family(name, tmp_path / name)
    overrides = [*tiny_overrides(folder, train=8, dev=8), "train.epochs=1", "encoder.max_length=64", "train.lr=0.05"]
    if name in ONLY_MLP and "ora" in preset:
        overrides.append("method.targets=mlp")
    spec = resolve(preset, overrides=overrides).spec
    spec = spec.model_copy(update={"tasks": spec.tasks[1:2]})  # of pairs
    told = train(spec, tmp_path / "run")
    assert len(told.epochs) == 1 and all(score.loss is not None and np.isfinite(score.loss) for score in told.scores)
    source = TrainedRun(spec, tmp_path / "run", {"paraphrase": 1}, own=False)
    adapted = preset not in ("last-layer", "full")
    exports: list[Callable[..., object]] = [export_merged, *([export_peft] if adapted else [])]
    for export in exports:
        rows = export(source, tmp_path / export.__name__)
        assert max(row.logits_within for row in rows) < TOLERANCE
    if adapted:
        files, task = source.files(), spec.tasks[0]
        pretrained = around(load_encoder(spec.encoder, files), spec, task, tmp_path / "export_peft" / task.name)
        tokenizer = load_tokenizer(files)
        logits = [probe(model, spec, task, tokenizer) for model in (pretrained, source.model(files))]
        assert np.abs(logits[0] - logits[1]).max() > 3 * TOLERANCE  # the adapters have an effect, small in MobileBERT
