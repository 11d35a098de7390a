"""A common interface to the sequence-to-sequence translation models of transformers.

Families differ in how the languages are passed to the model (`_Languages`); the rest is transformers' `generate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from peftbench.encoder import EncoderFiles, find_encoder
from peftbench.errors import MissingError, UsageError
from peftbench.spec.augment import BackTranslationSpec
from peftbench.spec.encoder import EncoderSpec
from peftbench.text import clean

LONGEST_INPUT = 512  # tokens; longer inputs are truncated


def find_model(name: str, revision: str | None) -> EncoderFiles:
    """Find a translation model on this machine; nothing is downloaded, since such models take gigabytes.

    Raises:
        MissingError: the model is not on this machine, or has no safetensors weights.
    """
    try:
        return find_encoder(EncoderSpec(name=name, revision=revision), local=True)
    except MissingError as error:
        reason = error.message.removeprefix(f"encoder {clean(name)}: ")
        detail = (
            "which is not on this machine" if reason.startswith(("neither", "encoder.name")) else clean(reason, 200)
        )
        raise MissingError(
            f"back translation needs the model {clean(name)}, {detail}",
            f"download it: hf download {clean(name)}; or name a folder or another model: "
            "--set augment.backtranslate.model=DIR; or use EDA only: --set augment.method=eda",
        ) from error


@dataclass(frozen=True, slots=True)
class _Languages:
    """How the languages are passed to a model: a prefix of the input, or the first token of the output."""

    prefix: str = ""
    first_token: int | None = None


class Translator:
    """A loaded translation model.

    Args:
        files: the result of `find_model`.
        settings: family, precision, beams, maximum translation length.
        device: for the computation.

    Raises:
        MissingError: transformers cannot load it or its tokeniser.
    """

    def __init__(self, files: EncoderFiles, settings: BackTranslationSpec, device: torch.device) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.name, self.settings, self.device = files.name, settings, device
        local: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(files.folder, **local)
            dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
            model = AutoModelForSeq2SeqLM.from_pretrained(files.folder, dtype=dtype, use_safetensors=True, **local)
        except Exception as error:  # transformers raises many types here
            raise MissingError(
                f"translation model {clean(files.name)}: transformers cannot load {files.folder}: {clean(error, 300)}",
                "the tokenisers of Marian and M2M-100 need: pip install sentencepiece",
            ) from error
        self.model: Any = model.to(device).eval()

    @torch.inference_mode()
    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Translate one batch.

        Args:
            texts: preferably of similar length.
            source: their language, as the model names it.
            target: the language to translate into.

        Raises:
            UsageError: the model does not support the language.
        """
        languages = self._languages(source, target)
        batch = self.tokenizer(
            [languages.prefix + text for text in texts],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=LONGEST_INPUT,
        ).to(self.device)
        first = {} if languages.first_token is None else {"forced_bos_token_id": languages.first_token}
        generated = self.model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=self.settings.max_new_tokens,
            max_length=None,
            num_beams=self.settings.beams,
            do_sample=False,
            **first,
        )
        return [" ".join(text.split()) for text in self.tokenizer.batch_decode(generated, skip_special_tokens=True)]

    def _languages(self, source: str, target: str) -> _Languages:
        match self.settings.family:
            case "madlad":
                self._token(f"<2{target}>", target)
                return _Languages(prefix=f"<2{target}> ")
            case "nllb":
                self._token(source, source)
                self.tokenizer.src_lang = source
                return _Languages(first_token=self._token(target, target))
            case "m2m":
                self._token(f"__{source}__", source)
                self.tokenizer.src_lang = source
                return _Languages(first_token=self._token(f"__{target}__", target))
            case "marian":  # one language pair per model; multilingual ones take a target prefix
                mark = f">>{target}<<"
                return _Languages(prefix=f"{mark} " if mark in self.tokenizer.get_vocab() else "")

    def _token(self, token: str, language: str) -> int:
        number: int | None = self.tokenizer.get_vocab().get(token)
        if number is None:
            raise UsageError(
                f"translation model {clean(self.name)} has no token '{clean(token)}' for the language "
                f"'{clean(language)}'",
                "set augment.backtranslate.pivot, .language and .family as in the model card: MADLAD 'ko', 'en'; "
                "NLLB 'kor_Hang', 'eng_Latn'; M2M-100 'ko', 'en'",
            )
        return number
