"""The native runtime compared with transformers on texts with special tokens, which shift RoBERTa's positions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peftbench.data.batches import Batcher
from peftbench.data.encode import EncodedSplit, encode_texts
from peftbench.encoder import find_encoder, load_encoder, load_tokenizer
from peftbench.model import MultitaskModel
from peftbench.native.bert import counted_positions
from peftbench.spec import resolve
from tests.encoder.families import save_family
from tests.models import PACKED, TOLERANCE, gradients
from tests.tiny import tiny_overrides

FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert")
Models = dict[tuple[str, str, str], MultitaskModel]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save_family(name, tmp_path_factory.mktemp(name) / name) for name in FAMILIES}


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> Models:
    """Each family in each runtime, trained in two ways, without dropout."""
    found: Models = {}
    for name, folder in folders.items():
        for preset in ("lora-r12", "full"):
            for runtime in ("native", "transformers"):
                given_ = ["encoder.dropout=0", "head.dropout=0", "encoder.max_length=64", f"runtime={runtime}"]
                spec = resolve(preset, overrides=[*tiny_overrides(folder), *given_]).spec
                model = MultitaskModel(load_encoder(spec.encoder, find_encoder(spec.encoder)), spec)
                found[name, preset, runtime] = model.prepare(torch.device("cpu"))
                assert found[name, preset, runtime].path.startswith(runtime)
    return found


def agree(models: Models, name: str, preset: str, split: EncodedSplit, pad: int) -> None:
    native, plain = (models[name, preset, runtime] for runtime in ("native", "transformers"))
    rows = list(range(len(split)))
    ours, our_grads = gradients(native, PACKED(split, rows))
    theirs, their_grads = gradients(plain, Batcher(False, pad, torch.device("cpu"))(split, rows))
    torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=TOLERANCE)
    assert our_grads.keys() == their_grads.keys()
    for weight, grad in our_grads.items():
        torch.testing.assert_close(grad, their_grads[weight], atol=TOLERANCE, rtol=TOLERANCE, msg=weight)


class TestTextsWithControlTokens:
    @pytest.mark.slow
    @settings(max_examples=60)
    @given(
        data=st.data(),
        name=st.sampled_from(FAMILIES),
        preset=st.sampled_from(["lora-r12", "full"]),
        as_text=st.booleans(),
    )
    def test_native_and_transformers_agree(
        self, data: st.DataObject, name: str, preset: str, as_text: bool, models: Models, folders: dict[str, Path]
    ) -> None:
        tokenizer = load_tokenizer(find_encoder(models_spec(folders[name])))
        tokenizer.split_special_tokens = as_text
        words = st.sampled_from([*tokenizer.all_special_tokens, "the", "film", " very bad", "é"])
        text = st.lists(words, max_size=9).map(" ".join) | st.lists(words, max_size=6).map("".join)
        texts = data.draw(st.lists(st.tuples(text, text), min_size=1, max_size=5))
        split = encode_texts(texts, tokenizer, True, 64)
        for runtime in ("native", "transformers"):
            models[name, preset, runtime].switch_mode("sts")
        agree(models, name, preset, split, tokenizer.pad_token_id)

    @pytest.mark.parametrize("name", ["roberta", "xlm-roberta", "camembert"])
    @pytest.mark.parametrize("preset", ["lora-r12", "full"])
    def test_a_padding_token_in_a_text_moves_those_behind_it(
        self, name: str, preset: str, models: Models, folders: dict[str, Path]
    ) -> None:
        tokenizer = load_tokenizer(find_encoder(models_spec(folders[name])))
        tokenizer.split_special_tokens = False
        split = encode_texts([("the <pad> film", "a"), ("<pad><pad>", "book"), ("is", "<pad>")], tokenizer, True, 64)
        assert sum(int((part.ids == tokenizer.pad_token_id).sum()) for part in split.parts) == 4
        agree(models, name, preset, split, tokenizer.pad_token_id)


def models_spec(folder: Path) -> object:
    from peftbench.spec import EncoderSpec

    return EncoderSpec(name=str(folder), pooling="mean", max_length=64)


@pytest.mark.slow
@settings(max_examples=100)
@given(texts=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=6))
def test_positions_are_those_of_transformers(texts: list[list[int]]) -> None:
    import numpy as np
    from transformers.models.roberta.modeling_roberta import RobertaEmbeddings

    from peftbench.data.encode import Ragged

    ids = np.array([token for text in texts for token in text], dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])])
    split = EncodedSplit((Ragged(ids, ids * 0, offsets),), offsets[1:] * 0.0, ("",) * len(texts), 0, False)
    (packed,) = PACKED(split, range(len(texts))).texts
    found = counted_positions(packed, 1)[: len(ids)].tolist()
    order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
    expected: Callable[..., torch.Tensor] = RobertaEmbeddings.create_position_ids_from_input_ids
    wanted = [position for row in order for position in expected(torch.tensor([texts[row]]), 1)[0].tolist()]
    assert found == wanted
