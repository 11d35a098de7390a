"""Cost of tokenising: peftbench's cold load against `datasets` with the same fast tokeniser, in interleaved rounds.

    python -m benchmarks.tokenization [--pairs 400000] [--rounds 3] [--json FILE]

A file of synthetic sentence pairs is read and tokenised in a new child process each time, with one thread: by peftbench
(rows checked, examples, tokens, the cache written: `cold`; and again from the cache: `warm`) and by
`datasets.load_dataset("csv")` with `Dataset.map(tokenizer, batched=True)`, with its cache on disk as well. CPU time
(after all imports) and peak resident memory are those of the children, the latter less that of a child that only
imports and loads the tokeniser. Aims: cold within 1.3 times the CPU time of `datasets`, and less than 1 GiB above that
child.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np

WAYS = ("idle", "peftbench cold", "peftbench warm", "datasets")
AIM_TIME, AIM_MIB = 1.3, 1024.0
LONGEST = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        way, folder = arguments.child
        print(json.dumps(child(way, Path(folder))))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_pairs(folder / "train.csv", arguments.pairs)
        for number in range(arguments.rounds):
            for way in WAYS:
                found[way].append(measured(way, folder, number))
                print(f"round {number + 1}: {way}: {found[way][-1]}", file=sys.stderr, flush=True)
    print(report(found, arguments.pairs))
    if arguments.json:
        arguments.json.write_text(json.dumps({"pairs": arguments.pairs, "rounds": found}, indent=1) + "\n")


def write_pairs(path: Path, pairs: int) -> None:
    """Write pairs of 5 to 25 words each, from a synthetic vocabulary with a Zipf-like distribution."""
    rng = np.random.default_rng(0)
    syllables = [a + b for a in "bdfglmnprst" for b in ("a", "e", "i", "o", "u", "an", "er", "ing")]
    words = np.array(["".join(rng.choice(syllables, int(rng.integers(1, 4)))) for _ in range(20_000)])
    weight = np.cumsum(1 / np.arange(1, len(words) + 1))
    lengths = rng.integers(5, 26, 2 * pairs)
    drawn = iter(words[np.searchsorted(weight, rng.random(lengths.sum()) * weight[-1])].tolist())
    texts = iter([" ".join(islice(drawn, int(length))) for length in lengths])
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "sentence1", "sentence2", "is_duplicate"])
        for row in range(pairs):
            writer.writerow([row, next(texts), next(texts), row % 2])


def measured(way: str, folder: Path, number: int) -> dict[str, float]:
    """Run a child and return its cost."""
    environment = {
        **os.environ,
        "PEFTBENCH_CACHE": str(folder / f"cache-{number}"),
        "HF_HOME": str(folder / f"hf-{number}"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "RAYON_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tokenization", "--child", way, str(folder)],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def child(way: str, folder: Path) -> dict[str, float]:
    """Do one way's work in this process; return its CPU seconds and the peak MiB of the process."""
    import torch  # noqa: F401  as every run imports it

    from peftbench.data.encode import encode_split
    from peftbench.data.load import load_split
    from peftbench.encoder import EMBEDDED_NAME, find_encoder, load_tokenizer
    from peftbench.meters.host import peak_rss_mib
    from peftbench.spec import EncoderSpec
    from peftbench.tasks import FilesSource, TaskSpec

    if way == "datasets":
        import datasets

        datasets.disable_progress_bars()
    files = find_encoder(EncoderSpec(name=EMBEDDED_NAME))
    tokenizer = load_tokenizer(files)
    tokenizer("warm", "up")
    begun = _processor_s()
    tokens = 0
    if way.startswith("peftbench"):
        source = FilesSource(type="files", root=str(folder), train="train.csv", dev="train.csv")
        task = TaskSpec(
            name="pairs", kind="binary", text=("sentence1", "sentence2"), label="is_duplicate", source=source
        )
        split = encode_split(load_split(task, "train"), tokenizer, files.tokenizer_sha256, True, LONGEST)
        tokens = int(split.lengths.sum())
        assert split.from_cache == (way == "peftbench warm")
    elif way == "datasets":
        made = datasets.load_dataset("csv", data_files=str(folder / "train.csv"), split="train").map(
            lambda rows: tokenizer(
                rows["sentence1"], rows["sentence2"], truncation=True, max_length=LONGEST, return_token_type_ids=True
            ),
            batched=True,
        )
        tokens = len(made)
    peak = peak_rss_mib()  # from the kernel, for this program; ru_maxrss includes the parent's memory at the fork
    assert peak is not None
    return {
        "processor_s": round(_processor_s() - begun, 3),
        "peak_mib": round(peak, 1),
        "done": tokens,
    }


def _processor_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def report(found: dict[str, list[dict[str, float]]], pairs: int) -> str:
    """Return the table: medians, ranges over the rounds, and ratios within rounds."""
    lines = [
        f"| {pairs:,} pairs, {len(found['idle'])} rounds | processor s | range | / datasets | range | peak MiB above |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    base = statistics.median(row["peak_mib"] for row in found["idle"])
    for way in WAYS[1:]:
        seconds = [row["processor_s"] for row in found[way]]
        ratios = [
            row["processor_s"] / other["processor_s"] for row, other in zip(found[way], found["datasets"], strict=True)
        ]
        peak = max(row["peak_mib"] for row in found[way]) - base
        lines.append(
            f"| {way} | {statistics.median(seconds):.1f} | {min(seconds):.1f}-{max(seconds):.1f} | "
            f"{statistics.median(ratios):.2f} | {min(ratios):.2f}-{max(ratios):.2f} | {peak:.0f} |"
        )
    cold = [
        row["processor_s"] / other["processor_s"] for row, other in zip(found[WAYS[1]], found["datasets"], strict=True)
    ]
    memory = max(row["peak_mib"] for row in found[WAYS[1]]) - base
    lines.append(
        f"\nAim, cold: at most {AIM_TIME} of datasets: {'met' if statistics.median(cold) <= AIM_TIME else 'missed'}; "
        f"under {AIM_MIB:.0f} MiB above: {'met' if memory < AIM_MIB else 'missed'}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
