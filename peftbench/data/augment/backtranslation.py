"""Back translation: a sentence into another language and back, by any translation model of transformers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from peftbench.data.augment.translations import Translations
from peftbench.data.augment.translator import Translator, find_model
from peftbench.encoder import EncoderFiles
from peftbench.paths import cache_folder
from peftbench.spec.augment import BackTranslationSpec

_CACHE_VERSION = 1  # raise it when the way of translating changes

OnProgress = Callable[[int, int], None]
"""Is told how many translations are done, and of how many; raises to stop, which loses nothing that was done."""


@dataclass(frozen=True, slots=True)
class _Direction:
    files: EncoderFiles
    source: str
    target: str


class BackTranslator:
    """The two directions of a setting. A model is loaded when there is something to translate, not before.

    Args:
        settings: models, languages, how to generate.

    Raises:
        MissingError: a model is not on this machine.
    """

    def __init__(self, settings: BackTranslationSpec) -> None:
        self.settings = settings
        there = find_model(settings.model, settings.revision)
        back = there if settings.back_model is None else find_model(settings.back_model, settings.back_revision)
        self._directions = (
            _Direction(there, settings.language, settings.pivot),
            _Direction(back, settings.pivot, settings.language),
        )
        self._loaded: tuple[str, Translator] | None = None

    @property
    def sha256(self) -> str:
        """Hash of all that determines a translation: both models' content, the languages, how it is generated."""
        return hashlib.sha256("".join(map(self._key, self._directions)).encode()).hexdigest()

    def translate(self, texts: Sequence[str], on_progress: OnProgress = lambda done, total: None) -> list[str]:
        """Return each text as it comes back. What was translated before is taken from the cache.

        Args:
            texts: in the settings' language.
            on_progress: told after each batch; both directions are counted.

        Raises:
            MissingError: a model cannot be loaded.
            UsageError: it does not know a language.
        """
        unique = list(dict.fromkeys(texts))
        total, done, known = 2 * len(unique), 0, dict(zip(unique, unique, strict=True))
        for direction in self._directions:
            start = done

            def tell(count: int, start: int = start) -> None:
                on_progress(start + count, total)

            found = self._one_way(direction, list(dict.fromkeys(known.values())), tell)
            known = {text: found[now] for text, now in known.items()}
            done += len(unique)
            on_progress(done, total)
        return [known[text] for text in texts]

    def close(self) -> None:
        """Give a model's memory back: what is measured later must not hold it, not even as torch's spare memory."""
        self._loaded = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _one_way(self, direction: _Direction, texts: list[str], tell: Callable[[int], None]) -> dict[str, str]:
        """Translate what is not known yet, the longest first, in batches of similar length."""
        cache = Translations(self._cache_path(direction))
        missing = sorted((text for text in texts if text and text not in cache), key=len, reverse=True)
        done = len(texts) - len(missing)
        tell(done)
        for start in range(0, len(missing), self.settings.batch_size):
            batch = missing[start : start + self.settings.batch_size]
            made = self._translator(direction.files).translate(batch, direction.source, direction.target)
            cache.add(dict(zip(batch, made, strict=True)))
            done += len(batch)
            tell(done)
        return {text: cache[text] if text else "" for text in texts}

    def _cache_path(self, direction: _Direction) -> Path:
        return cache_folder() / "translations" / f"{self._key(direction)}.jsonl"

    def _key(self, direction: _Direction) -> str:
        how, files = self.settings, direction.files
        determinants = [
            *(_CACHE_VERSION, files.weights_sha256, files.tokenizer_sha256, direction.source, direction.target),
            *(how.family, how.precision, how.beams, how.max_new_tokens),
        ]
        return hashlib.sha256(json.dumps(determinants).encode()).hexdigest()

    def _translator(self, files: EncoderFiles) -> Translator:
        if self._loaded is None or self._loaded[0] != files.weights_sha256:
            self.close()
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            self._loaded = (files.weights_sha256, Translator(files, self.settings, device))
        return self._loaded[1]
