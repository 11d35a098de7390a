"""Serving adapters of three tasks, peftbench and HF PEFT compared: switching, mixed-task batches, merging, storage.

    python benchmarks/switch.py [--shape base|minilm] [--method lora|dora] [--rounds 15] [--json OUT]

Both run in this process, alternating, on the same texts (random ids, with the lengths of the quickstart's sentences).
Ratios are between consecutive measurements; their median and range over the rounds are reported. PEFT pads its batches.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from peftbench.data.batches import Batcher
from peftbench.data.encode import EncodedSplit, Ragged
from peftbench.model import MultitaskModel
from peftbench.spec import RunSpec, resolve

TASKS = ("sst", "paraphrase", "sts")
SHAPES = {
    "base": {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072},
    "minilm": {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536},
    "tiny": {"num_hidden_layers": 1, "hidden_size": 48, "intermediate_size": 64},
}
TEXTS = 64


def encoder_of(shape: str) -> nn.Module:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    return BertModel(BertConfig(**SHAPES[shape], attn_implementation="sdpa"), add_pooling_layer=False).eval()


def split_of(lengths: np.ndarray) -> EncodedSplit:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.random.default_rng(0).integers(1000, 30000, offsets[-1]).astype(np.int32)
    names = tuple(map(str, range(len(lengths))))
    return EncodedSplit((Ragged(ids, np.zeros_like(ids), offsets),), np.zeros(len(lengths)), names, 0, False)


def quickstart_lengths(count: int) -> np.ndarray:
    from peftbench.data.encode import encode_split
    from peftbench.data.load import load_split
    from peftbench.encoder import find_encoder, load_tokenizer

    spec = resolve("lora-r12").spec
    files = find_encoder(spec.encoder)
    split = encode_split(load_split(spec.tasks[0], "train"), load_tokenizer(files), files.tokenizer_sha256, True, 512)
    return split.lengths[:count]


def seconds(work: Callable[[], object], least: float = 0.2) -> float:
    """Return the time of one call, averaged over as many calls as take `least` seconds."""
    count, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < least or count == 0:
        work()
        count += 1
    return passed / count


class Ours:
    """peftbench's model, with the operations to time."""

    def __init__(self, spec: RunSpec, shape: str, split: EncodedSplit) -> None:
        self.model = MultitaskModel(encoder_of(shape), spec)
        self.merged = copy.deepcopy(self.model).prepare(torch.device("cpu")).merge("sst").eval()
        self.model.prepare(torch.device("cpu")).eval()
        self.split = split
        self.parts = np.array_split(np.arange(TEXTS), len(TASKS))
        batcher = self.model.batcher(0)
        self.alone = [batcher(split, rows) for rows in self.parts]
        self.whole = batcher(split, np.arange(TEXTS))
        self.turn = 0

    def switch(self) -> None:
        self.turn = (self.turn + 1) % len(TASKS)
        self.model.method.switch_mode(TASKS[self.turn])

    @torch.inference_mode()
    def one_by_one(self) -> None:
        for task, batch in zip(TASKS, self.alone, strict=True):
            self.model.switch_mode(task)
            self.model(batch)

    def forward_multitask(self) -> None:
        self.model.forward_multitask({task: (self.split, rows) for task, rows in zip(TASKS, self.parts, strict=True)})

    @torch.inference_mode()
    def one_task(self) -> None:
        self.model(self.whole)

    @torch.inference_mode()
    def one_task_merged(self) -> None:
        self.merged(self.whole)


class Theirs:
    """HF PEFT with one named adapter per task, with the operations to time."""

    def __init__(self, spec: RunSpec, shape: str, split: EncodedSplit) -> None:
        import peft

        config = peft.LoraConfig(
            r=spec.method.rank,
            lora_alpha=spec.method.alpha,
            target_modules=["query", "key", "value"],
            use_dora=spec.method.name == "dora",
        )
        self.model = peft.get_peft_model(encoder_of(shape), config, adapter_name=TASKS[0])
        for task in TASKS[1:]:
            self.model.add_adapter(task, config)
        self.model.eval()
        merged = copy.deepcopy(self.model)
        self.merged = merged.merge_and_unload(adapter_names=["sst"]).eval()
        batcher = Batcher(False, 0, torch.device("cpu"))
        self.alone = [batcher(split, rows).texts[0] for rows in np.array_split(np.arange(TEXTS), len(TASKS))]
        self.whole = batcher(split, np.arange(TEXTS)).texts[0]
        self.names = [task for task, part in zip(TASKS, self.alone, strict=True) for _ in range(len(part.ids))]
        self.turn = 0

    def switch(self) -> None:
        self.turn = (self.turn + 1) % len(TASKS)
        self.model.set_adapter(TASKS[self.turn])

    @torch.inference_mode()
    def one_by_one(self) -> None:
        for task, text in zip(TASKS, self.alone, strict=True):
            self.model.set_adapter(task)
            self.model(input_ids=text.ids, attention_mask=text.mask)

    @torch.inference_mode()
    def forward_multitask(self) -> None:
        self.model(input_ids=self.whole.ids, attention_mask=self.whole.mask, adapter_names=self.names)

    @torch.inference_mode()
    def one_task(self) -> None:
        self.model(input_ids=self.whole.ids, attention_mask=self.whole.mask)

    @torch.inference_mode()
    def one_task_merged(self) -> None:
        self.merged(input_ids=self.whole.ids, attention_mask=self.whole.mask)


def compare(ours: Ours, theirs: Theirs, rounds: int) -> dict[str, dict[str, Any]]:
    """Time each operation, alternating between the two."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("switch", "one_by_one", "one_task", "one_task_merged", "mixed"):  # last, as a refused mix leaves hooks
        try:
            getattr(theirs, name)()
            works = (getattr(ours, name), getattr(theirs, name))
        except (ValueError, NotImplementedError) as error:  # PEFT cannot mix some kinds of adapters
            found[name] = {"peft": None, "why": str(error)[:120]}
            works = (getattr(ours, name),)
        works[0]()
        times = [[seconds(work) for work in works] for _ in range(rounds)]
        found.setdefault(name, {})["ours"] = statistics.median(row[0] for row in times)
        if len(works) == 2:
            ratios = sorted(row[1] / row[0] for row in times)
            found[name] |= {
                "peft": statistics.median(row[1] for row in times),
                "ratio": statistics.median(ratios),
                "ratio_range": [ratios[0], ratios[-1]],
            }
    return found


def storage(ours: Ours, theirs: Theirs, folder: Path) -> dict[str, float]:
    """Return the MiB on disk of three tasks, without the shared encoder."""
    from peftbench.training.weights import save_weights

    total = 0
    for task in TASKS:
        path = folder / f"epoch-1-{task}.safetensors"
        save_weights(ours.model.saved(task), path, "0" * 64)
        total += path.stat().st_size
    theirs.model.save_pretrained(folder / "peft")
    their_total = sum(path.stat().st_size for path in (folder / "peft").rglob("*.safetensors"))
    encoder = sum(weight.numel() * 4 for weight in ours.merged.encoder.parameters())
    return {"ours": total / 2**20, "peft": their_total / 2**20, "one_encoder_a_task": len(TASKS) * encoder / 2**20}


def measure(shape: str, method: str, rounds: int, lengths: np.ndarray) -> dict[str, Any]:
    """Measure one shape and method."""
    spec = resolve(f"{method}-r12").spec
    split = split_of(lengths)
    ours, theirs = Ours(spec, shape, split), Theirs(spec, shape, split)
    with tempfile.TemporaryDirectory() as folder:
        stored = storage(ours, theirs, Path(folder))
    return {"shape": shape, "method": method, "times_s": compare(ours, theirs, rounds), "storage_mib": stored}


def speed(name: str, seconds_each: float | None) -> str:
    """Format the microseconds of a switch, or the texts per second of other operations."""
    if seconds_each is None:
        return "-"
    return f"{seconds_each * 1e6:,.1f} us" if name == "switch" else f"{TEXTS / seconds_each:,.0f} texts/s"


def table(result: dict[str, Any]) -> str:
    """Return a Markdown table."""
    lines = [f"{result['shape']}, {result['method']}, rank 12", "", "| | ours | HF PEFT | PEFT / ours (range) |"]
    lines.append("| --- | --- | --- | --- |")
    for name, row in result["times_s"].items():
        shown = [speed(name, row[who]) for who in ("ours", "peft")]
        low, high = row.get("ratio_range", (0, 0))
        ratio = f"{row['ratio']:.2f} ({low:.2f}-{high:.2f})" if "ratio" in row else "-"
        lines.append(f"| {name.replace('_', ' ')} | {shown[0]} | {shown[1]} | {ratio} |")
    stored = result["storage_mib"]
    lines.append(
        f"| storage of 3 tasks | {stored['ours']:.1f} MiB | {stored['peft']:.1f} MiB "
        f"| one encoder a task: {stored['one_encoder_a_task']:.0f} MiB |"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=["minilm", "base"])
    parser.add_argument("--method", choices=["lora", "dora"], nargs="+", default=["lora", "dora"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    lengths = quickstart_lengths(TEXTS)
    results = []
    for shape in arguments.shape:
        for method in arguments.method:
            results.append(measure(shape, method, arguments.rounds, lengths))
            print(table(results[-1]), end="\n\n", flush=True)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"torch": torch.__version__, "results": results}, indent=1))


if __name__ == "__main__":
    main()
