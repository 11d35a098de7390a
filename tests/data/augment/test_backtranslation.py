"""Back translation, through transformers' own code on small models with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peftbench.data.augment.backtranslation import BackTranslator
from peftbench.data.augment.translations import Translations
from peftbench.data.augment.translator import Translator
from peftbench.errors import MissingError, UsageError
from peftbench.spec.augment import BackTranslationSpec
from tests.data.augment.models import tiny_nllb, tiny_t5

TEXTS = ["the film was great", "so what", "a slow story that moves nobody", "the plot", "so what", "dull and slow"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEFTBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "translations"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """The translation requests, batch by batch: (target, texts)."""
    seen: list[tuple[str, list[str]]] = []
    real = Translator.translate

    def watched(self: Translator, texts: list[str], source: str, target: str) -> list[str]:
        seen.append((target, list(texts)))
        return real(self, texts, source, target)

    monkeypatch.setattr(Translator, "translate", watched)
    return seen


def spec(model: Path, **changed: object) -> BackTranslationSpec:
    return BackTranslationSpec(
        model=str(model), **{"precision": "fp32", "max_new_tokens": 8, "batch_size": 2, **changed}
    )


@pytest.mark.slow
def test_it_is_what_transformers_generates_twice(model: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer, plain = AutoTokenizer.from_pretrained(model), AutoModelForSeq2SeqLM.from_pretrained(model)

    def generated(text: str) -> str:
        batch = tokenizer([text], return_tensors="pt")
        found = plain.generate(**batch, max_new_tokens=8, do_sample=False)
        return " ".join(tokenizer.decode(found[0], skip_special_tokens=True).split())

    back = BackTranslator(spec(model)).translate(TEXTS)
    assert back == [generated(f"<2en> {generated(f'<2ko> {text}')}") for text in TEXTS]
    # The trained tokeniser varies, so the number of different outputs varies; they are never all equal.
    assert len(set(back)) > 1
    assert back[1] == back[4]


def test_batches_are_of_similar_length_and_every_text_is_translated_once(model: Path, asked: list) -> None:
    BackTranslator(spec(model)).translate(TEXTS)
    out = [texts for target, texts in asked if target == "ko"]
    assert [len(texts) for texts in out] == [2, 2, 1]
    assert sorted(text for texts in out for text in texts) == sorted(set(TEXTS))
    lengths = [len(text) for texts in out for text in texts]
    assert lengths == sorted(lengths, reverse=True)


def test_progress_counts_both_directions_and_ends_at_the_total(model: Path) -> None:
    told: list[tuple[int, int]] = []
    BackTranslator(spec(model)).translate(TEXTS, lambda done, total: told.append((done, total)))
    assert told[-1] == (10, 10)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert (2, 10) in told


def test_after_a_stop_only_the_rest_is_translated(model: Path, asked: list) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BackTranslator(spec(model)).translate(TEXTS, stop)
    before = [text for _, texts in asked for text in texts]
    assert len(before) == 4
    asked.clear()
    resumed = BackTranslator(spec(model)).translate(TEXTS)
    assert [text for target, texts in asked if target == "ko" for text in texts] == [
        text for text in sorted(set(TEXTS), key=len) if text not in before
    ]
    asked.clear()
    again = BackTranslator(spec(model)).translate(TEXTS)
    assert (again, asked) == (resumed, [])


def test_a_line_that_was_cut_by_a_kill_is_made_again_and_hurts_no_other(model: Path, cache: Path, asked: list) -> None:
    whole = BackTranslator(spec(model)).translate(TEXTS)
    for file in cache.iterdir():
        file.write_bytes(file.read_bytes()[:-9])
    asked.clear()
    assert BackTranslator(spec(model)).translate(TEXTS) == whole
    assert [len(texts) for _, texts in asked] == [1, 1]
    for file in cache.iterdir():
        kept = Translations(file)
        assert len(kept._known) == len({json.loads(line)["text"] for line in file.open() if line.endswith("}\n")})
    asked.clear()
    assert BackTranslator(spec(model)).translate(TEXTS) == whole and not asked


def test_no_text_of_the_users_is_in_the_cache(model: Path, cache: Path) -> None:
    BackTranslator(spec(model)).translate(["nobody moves"])
    assert not any("nobody moves" in file.read_text() for file in cache.iterdir())


@pytest.mark.slow
def test_another_model_or_setting_has_translations_of_its_own(model: Path, tmp_path: Path, asked: list) -> None:
    BackTranslator(spec(model)).translate(TEXTS[:1])
    for changed in (spec(tiny_t5(tmp_path / "other", seed=1)), spec(model, beams=2), spec(model, precision="bf16")):
        asked.clear()
        BackTranslator(changed).translate(TEXTS[:1])
        assert [len(texts) for target, texts in asked if target == "ko"] == [1]
    asked.clear()
    BackTranslator(spec(model, batch_size=7)).translate(TEXTS[:1])
    assert not asked


def test_two_models_translate_one_way_each(model: Path, tmp_path: Path) -> None:
    other = tiny_t5(tmp_path / "other", seed=1)
    both = BackTranslator(spec(model, back_model=str(other)))
    assert both.translate(TEXTS) != BackTranslator(spec(model)).translate(TEXTS)
    assert both.sha256 != BackTranslator(spec(model)).sha256


def test_nllb_is_told_the_languages_by_codes(tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = tiny_nllb(tmp_path / "nllb")
    settings = spec(folder, family="nllb", pivot="kor_Hang", language="eng_Latn")
    tokenizer, plain = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)

    def generated(text: str, source: str, target: str) -> str:
        tokenizer.src_lang = source
        first = tokenizer.convert_tokens_to_ids(target)
        found = plain.generate(
            **tokenizer([text], return_tensors="pt"), forced_bos_token_id=first, max_new_tokens=8, do_sample=False
        )
        assert found[0, 1] == first
        return " ".join(tokenizer.decode(found[0], skip_special_tokens=True).split())

    back = BackTranslator(settings).translate(["so what", "the plot"])
    assert back == [
        generated(generated(text, "eng_Latn", "kor_Hang"), "kor_Hang", "eng_Latn") for text in ("so what", "the plot")
    ]
    with pytest.raises(UsageError, match="no token 'ko' for the language 'ko'"):
        BackTranslator(spec(folder, family="nllb", language="eng_Latn")).translate(["dull"])


class _Vocabulary:
    """A stub tokeniser with language codes; the real ones of Marian and M2M-100 need sentencepiece."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = {token: number for number, token in enumerate(tokens, start=70)}

    def get_vocab(self) -> dict[str, int]:
        return self.tokens


@pytest.mark.parametrize(
    ("family", "tokens", "prefix", "first"),
    [
        ("m2m", ("__en__", "__ko__"), "", 71),
        ("marian", (), "", None),
        ("marian", (">>ko<<",), ">>ko<< ", None),
    ],
)
def test_how_the_other_families_are_told_a_language(
    family: str, tokens: tuple[str, ...], prefix: str, first: int | None
) -> None:
    translator = object.__new__(Translator)
    translator.name, translator.settings = "x", BackTranslationSpec(family=family)
    translator.tokenizer = _Vocabulary(*tokens)
    languages = translator._languages("en", "ko")
    assert (languages.prefix, languages.first_token) == (prefix, first)


def test_a_language_that_the_model_does_not_know_is_named(model: Path) -> None:
    with pytest.raises(UsageError) as caught:
        BackTranslator(spec(model, pivot="xx")).translate(TEXTS)
    assert "no token '<2xx>' for the language 'xx'" in caught.value.message
    assert "augment.backtranslate.pivot" in caught.value.hint


@pytest.mark.parametrize("name", ["no-such/model", "/no/such/folder"])
def test_a_model_that_is_not_here_is_named_with_what_to_do(name: str) -> None:
    with pytest.raises(MissingError) as caught:
        BackTranslator(BackTranslationSpec(model=name))
    assert f"needs the model {name}, which is not on this machine" in caught.value.message
    assert f"hf download {name}" in caught.value.hint and "augment.method=eda" in caught.value.hint


def test_a_pickle_checkpoint_is_refused_as_such(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(MissingError, match="contains only a pickle checkpoint, which can execute arbitrary code"):
        BackTranslator(spec(tmp_path))


def test_a_folder_without_a_translation_model_is_refused(tiny_encoder: Path) -> None:
    with pytest.raises(MissingError, match="transformers cannot load"):
        BackTranslator(spec(tiny_encoder)).translate(TEXTS)
