"""Encoders: lookup, verification, safetensors only; and each supported architecture in the model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import peftbench.encoder as encoders
from peftbench.data.batches import Batcher
from peftbench.data.encode import encode_texts
from peftbench.errors import MissingError, UsageError
from peftbench.model import MultitaskModel
from peftbench.spec import EncoderSpec, Resolved

PADDED = Batcher(False, 0, torch.device("cpu"))


def test_the_embedded_encoder_is_the_one_that_was_promised() -> None:
    found = encoders.find_encoder(EncoderSpec(name="all-MiniLM-L6-v2", pooling="mean"))
    assert found.weights_sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_an_embedded_encoder_with_other_weights_is_refused(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peftbench.encoder.files._embedded_folder", lambda: tiny_encoder)
    with pytest.raises(MissingError, match="not the expected 53aa51172d14"):
        encoders.find_encoder(EncoderSpec(name="all-MiniLM-L6-v2"))


def test_a_pickle_checkpoint_is_refused_with_the_reason(tiny_encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "pickled")
    (tmp_path / "pickled/model.safetensors").rename(tmp_path / "pickled/pytorch_model.bin")
    with pytest.raises(MissingError, match="pickle checkpoint, which can execute arbitrary code"):
        encoders.find_encoder(EncoderSpec(name=str(tmp_path / "pickled")))


@pytest.mark.parametrize("name", ["/no/such/folder", "no-such/model-on-the-hub"])
def test_an_encoder_that_cannot_be_had_says_so(name: str) -> None:
    with pytest.raises(MissingError, match=name):
        encoders.find_encoder(EncoderSpec(name=name))


def test_code_of_a_checkpoint_is_never_run(tiny_encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "custom"
    shutil.copytree(tiny_encoder, folder)
    trap = tmp_path / "ran"
    (folder / "modeling_trap.py").write_text(f"open({str(trap)!r}, 'w')\n")
    (folder / "config.json").write_text(
        '{"model_type": "trap", "auto_map": {"AutoConfig": "modeling_trap.C", "AutoModel": "modeling_trap.M"}}'
    )
    spec = EncoderSpec(name=str(folder))
    with pytest.raises(MissingError, match="custom code") as error:
        encoders.load_encoder(spec, encoders.find_encoder(spec))
    assert "never executes a checkpoint's own code" in error.value.hint
    assert not trap.exists()


def test_a_spec_sets_every_dropout_or_none(tiny_encoder: Path) -> None:
    plain = EncoderSpec(name=str(tiny_encoder), pooling="mean")
    files = encoders.find_encoder(plain)
    assert encoders.load_encoder(plain, files).config.hidden_dropout_prob == 0.1
    off = EncoderSpec(name=str(tiny_encoder), pooling="mean", dropout=0.0)
    model = encoders.load_encoder(off, files)
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.0}
    assert model.config.attention_probs_dropout_prob == 0.0


def architectures() -> dict[str, Callable[[], torch.nn.Module]]:
    import transformers as t

    small = {"vocab_size": 30522, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}
    two = {"num_hidden_layers": 2}
    return {
        "roberta": lambda: t.RobertaModel(t.RobertaConfig(**small, **two, max_position_embeddings=514, pad_token_id=1)),
        "distilbert": lambda: t.DistilBertModel(
            t.DistilBertConfig(vocab_size=30522, dim=32, n_layers=2, n_heads=2, hidden_dim=48)
        ),
        "modernbert": lambda: t.ModernBertModel(
            t.ModernBertConfig(**small, **two, pad_token_id=0, reference_compile=False)
        ),
    }


@pytest.mark.parametrize("architecture", ["roberta", "distilbert", "modernbert"])
@pytest.mark.parametrize("preset", ["lora-r12", "dora-r12", "full", "last-layer"])
def test_each_architecture_of_the_family_trains(
    architecture: str, preset: str, tiny_encoder: Path, tmp_path: Path, tiny: Callable[..., Resolved]
) -> None:
    folder = tmp_path / architecture
    shutil.copytree(tiny_encoder, folder)
    torch.manual_seed(0)
    architectures()[architecture]().save_pretrained(folder)
    spec = tiny(preset, [f"encoder.name={folder}"]).spec
    files = encoders.find_encoder(spec.encoder)
    model = MultitaskModel(encoders.load_encoder(spec.encoder, files), spec)
    texts = encode_texts([("a fine film", "a good film"), ("no", "yes")], encoders.load_tokenizer(files), True, 64)
    model.switch_mode("sts")
    logits = model(PADDED(texts, [0, 1]))
    logits.sum().backward()
    assert logits.shape == (2, 1)
    assert all(weight.grad is not None for name, weight in model.trainable_of("sts").items() if "lora" in preset)
    assert model.heads["sts"][1].weight.grad is not None


def test_a_pooler_that_is_not_there_is_an_error_not_a_guess(tiny_encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "distilbert"
    shutil.copytree(tiny_encoder, folder)
    architectures()["distilbert"]().save_pretrained(folder)
    spec = EncoderSpec(name=str(folder), pooling="pooler")
    with pytest.raises(UsageError, match="has no pooler"):
        encoders.load_encoder(spec, encoders.find_encoder(spec))


def test_a_pooler_that_the_checkpoint_lacks_is_not_made_up(tiny_encoder: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    folder = tmp_path / "no-pooler"
    shutil.copytree(tiny_encoder, folder)
    config = BertConfig.from_pretrained(folder)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    with_pooler = EncoderSpec(name=str(folder), pooling="pooler")
    files = encoders.find_encoder(with_pooler)
    with pytest.raises(UsageError, match="has no weights for it"):
        encoders.load_encoder(with_pooler, files)
    encoders.load_encoder(EncoderSpec(name=str(folder), pooling="mean"), files)


def test_more_tokens_than_positions_are_refused_at_once(tiny_encoder: Path) -> None:
    spec = EncoderSpec(name=str(tiny_encoder), max_length=513)
    with pytest.raises(UsageError, match=r"max_length = 513: .* has 512 positions"):
        encoders.load_encoder(spec, encoders.find_encoder(spec))
