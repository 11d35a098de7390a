"""Back translation through a pivot language, with any translation model of transformers."""

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

_CACHE_VERSION = 1  # increment when the translation procedure changes

OnProgress = Callable[[int, int], None]
"""Called with the translations done and the total; may raise to stop, which keeps completed translations."""


@dataclass(frozen=True, slots=True)
class _Direction:
    files: EncoderFiles
    source: str
    target: str


class BackTranslator:
    """Both translation directions of the settings. Models are loaded lazily, when a text is not in the cache.

    Args:
        settings: models, languages and generation settings.

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
        """Hash of everything that determines a translation: content of both models, languages, generation settings."""
        return hashlib.sha256("".join(map(self._key, self._directions)).encode()).hexdigest()

    def translate(self, texts: Sequence[str], on_progress: OnProgress = lambda done, total: None) -> list[str]:
        """Return the back translation of each text, using the cache where possible.

        Args:
            texts: in the settings' language.
            on_progress: called after each batch; both directions are counted.

        Raises:
            MissingError: a model cannot be loaded.
            UsageError: a model does not support a language.
        """
        unique = list(dict.fromkeys(texts))
        total, done, known = 2 * len(unique), 0, dict(zip(unique, unique, strict=True))
        for direction in self._directions:
            start = done

            def tell(count: int, start: int = start) -> None:
                on_progress(start + count, total)

            translations = self._translate_one(direction, list(dict.fromkeys(known.values())), tell)
            known = {text: translations[now] for text, now in known.items()}
            done += len(unique)
            on_progress(done, total)
        return [known[text] for text in texts]

    def close(self) -> None:
        """Free a model's memory, including torch's cached blocks, so that later measurements do not count it."""
        self._loaded = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _translate_one(self, direction: _Direction, texts: list[str], tell: Callable[[int], None]) -> dict[str, str]:
        """Translate the texts that are not cached, longest first, in batches of similar length."""
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
