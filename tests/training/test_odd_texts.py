"""Texts that hold nothing, or what nobody expects: every input has a token, and every figure is a number."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peftbench.data.content import content_of
from peftbench.data.encode import encode_texts
from peftbench.encoder import find_encoder, load_tokenizer, padding_of
from peftbench.errors import DataError
from peftbench.model import MultitaskModel
from peftbench.spec import EncoderSpec, resolve
from peftbench.training.inputs import RecordedInputs
from peftbench.training.predictor import Predictor
from tests.encoder.decoders import bpe, save_decoder
from tests.encoder.families import save_family
from tests.models import TOLERANCE, gradients
from tests.models import model_with_adapters as build
from tests.recorders import train
from tests.tiny import tiny_overrides

LONGEST = 24
ODD = (
    *("", " ", "\t\r\n", "\u00a0\u3000", "a", ".", "\x00", "\x00\x01\x7f", "\u200b\u200d\ufeff", "\u0301\u0301"),
    *("\u202e\u05d0\u05d1 \u0627\u0644", "😀👨‍👩‍👧", "\U000e0041", "\uffff\ufffd", "x" * 3000, "e\u0301" * 200),
    *("the\r\n film\r was\n good\u2028bad", "[CLS] [SEP]", "</s><pad>", "中文", "Ⅷ½ﬁ", "İß", "' \" \\", "the film"),
)
_PIECES = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.text(st.sampled_from("\x00\u200b\u0301\u202e \t\n😀é東"), max_size=40),
)
TEXTS = st.lists(st.lists(_PIECES, max_size=3).map("".join), min_size=1, max_size=5)
ENCODERS = ("bert", "roberta", "xlm-roberta", "modernbert", "without special tokens")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[MultitaskModel, MultitaskModel, Any]]:
    """Return a function that makes a native and a transformers model of an encoder, with its tokeniser, once each."""
    parent = tmp_path_factory.mktemp("encoders")

    @cache
    def made(name: str) -> tuple[MultitaskModel, MultitaskModel, Any]:
        folder = save_family("bert" if name == "without special tokens" else name, parent / name)
        if name == "without special tokens":
            bpe(pad=True).save_pretrained(folder)
        overrides = [f"encoder.max_length={LONGEST}", "encoder.pooling=mean", "encoder.dropout=0", "head.dropout=0"]
        resolved = resolve("lora-r12", overrides=[*tiny_overrides(folder), *overrides])
        tokenizer = load_tokenizer(find_encoder(EncoderSpec(name=str(folder))))
        return build(resolved, "native"), build(resolved, "transformers"), tokenizer

    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(texts=TEXTS, stride=st.sampled_from([None, 0, 5]))
def test_every_text_has_a_token_and_finite_logits_and_gradients_in_both_runtimes(
    name: str, models: Callable[[str], tuple[MultitaskModel, MultitaskModel, Any]], texts: list[str], stride: int | None
) -> None:
    ours, theirs, tokenizer = models(name)
    split = encode_texts([(text,) for text in texts], tokenizer, True, LONGEST, stride=stride)
    (part,) = split.parts
    rows = np.arange(len(texts))
    windows, chosen, _ = part.inputs(rows)
    assert windows.lengths[chosen].min() >= 1 and windows.lengths[chosen].max() <= LONGEST
    content = content_of(split.parts, tokenizer, False)
    nothing = [text for text in texts if not tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert (content.inputs, content.empty) == (len(texts), len(nothing))
    (logits, grads), (their_logits, their_grads) = (
        gradients(model.train(), model.batcher(padding_of(tokenizer))(split, rows)) for model in (ours, theirs)
    )
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(logits, their_logits, atol=TOLERANCE, rtol=TOLERANCE)
    assert grads.keys() == their_grads.keys()
    for key, grad in grads.items():
        assert torch.isfinite(grad).all()
        torch.testing.assert_close(grad, their_grads[key], atol=TOLERANCE, rtol=TOLERANCE, msg=key)


def workload(folder: Path, encoder: Path) -> Path:
    """Write files of odd texts, as sentences and as words, and a workload of them; return its path."""
    words = [word for text in ODD for word in text.split()]
    sentences = [*([word] for word in words), words]
    for split in ("train", "dev"):
        rows: list[dict[str, Any]] = [{"text": text, "label": number % 2} for number, text in enumerate(ODD)]
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        tagged = [
            {"words": own, "tags": ["B-X" if number % 3 else "O"] * len(own)} for number, own in enumerate(sentences)
        ]
        (folder / f"{split}-words.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in tagged))

    def source(suffix: str) -> str:
        files = ", ".join(f'{split} = "{split}{suffix}.jsonl"' for split in ("train", "dev"))
        return f'source = {{ type = "files", root = "{folder}", {files} }}'

    path = folder / "odd.toml"
    path.write_text(
        f'[encoder]\nname = "{encoder}"\nmax_length = {LONGEST}\n'
        f'[tasks.sentences]\nkind = "binary"\ntext = ["text"]\nlabel = "label"\n{source("")}\n'
        f'[tasks.words]\nkind = "tokens"\ntext = ["words"]\nlabel = "tags"\nlabels = ["O", "B-X", "I-X"]\n'
        f"{source('-words')}\n"
    )
    return path


@pytest.mark.slow
@pytest.mark.usefixtures("no_prediction")
@pytest.mark.parametrize("name", ["bert", "roberta", "qwen2"])
def test_a_run_on_them_scores_and_predicts_numbers(name: str, tmp_path: Path) -> None:
    decoder = name == "qwen2"
    folder = tmp_path / "encoder"
    save_decoder(name, folder) if decoder else save_family(name, folder)
    losses = []
    for runtime in ("transformers",) if decoder else ("transformers", "native"):
        pooling = "last" if decoder else "mean"
        overrides = [f"runtime={runtime}", f"encoder.pooling={pooling}", "train.epochs=1", "train.batch_size=1"]
        spec = resolve(
            "lora-r12", str(workload(tmp_path, folder)), overrides=[*overrides, "encoder.dropout=0", "head.dropout=0"]
        ).spec
        memory = train(spec, tmp_path / runtime)
        losses.append([each.loss for each in memory.scores])
        assert np.isfinite(losses[-1]).all()
        assert any("sentences train: 4 of 24 rows left out (no text)" in note for note in memory.notes)
        tokenizer = load_tokenizer(find_encoder(spec.encoder))
        nothing = [text for text in ODD if not tokenizer(text, add_special_tokens=False)["input_ids"]]
        dropped = sum(bool(text.strip()) for text in nothing)
        assert (dropped > 3) == (name == "bert")  # bytes drop nothing
        line = f"sentences train: {dropped} of 20 inputs have no content"
        assert any(line in note for note in memory.notes) == bool(dropped)
        assert memory.best_epoch is not None
        recorded = RecordedInputs("odd", memory.facts["conditions"])
        for task in spec.tasks:
            ask = Predictor(spec, task, tmp_path / runtime, memory.best_epoch, own=False, recorded=recorded)
            together = ask([(text,) for text in ODD])
            assert len(together.rows) == len(ODD) and together.empty == len(nothing)
            for text, row in zip(ODD, together.rows, strict=True):
                (alone,) = ask([(text,)]).rows
                assert alone.prediction == row.prediction
                assert alone.probability == pytest.approx(row.probability, abs=1e-5)
                assert task.kind == "tokens" or np.isfinite(row.number)
    if not decoder:
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)


@given(st.text(max_size=9), st.characters(categories=["Cs"]), st.text(max_size=9))
def test_half_a_surrogate_pair_is_refused_with_its_place(before: str, half: str, after: str) -> None:
    texts = [("the film", "good"), ("a", before + half + after)]
    with pytest.raises(
        DataError, match=rf"text 2 is not valid Unicode: lone surrogate U\+{ord(half):04X} at character"
    ):
        encode_texts(texts, bpe(), False, LONGEST)


def test_a_text_without_tokens_is_not_taken_for_one_with_a_special_token() -> None:
    """A decoder's tokeniser adds nothing to an empty text, which then is its end-of-text token."""
    tokenizer = bpe()
    parts = encode_texts([("",), ("a",), (" ",)], tokenizer, True, LONGEST).parts
    counts = content_of(parts, tokenizer, False)
    assert (counts.inputs, counts.empty, counts.controlled) == (3, 1, 0)
