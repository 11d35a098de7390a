"""A stored run with rows in every table, its bundle, and forged bundles."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from peftbench.interchange.bundle import encoded, write_bundle
from peftbench.interchange.destinations import whole_file
from peftbench.paths import run_folder
from peftbench.spec import Resolved
from peftbench.store.rows import (
    Epoch,
    InterimScore,
    Phase,
    Prediction,
    RunRecord,
    SampleRow,
    Score,
    TaskBest,
    TrainPoint,
    Usage,
)
from peftbench.store.transfer import RowReader
from tests.store.life import Life
from tests.tiny import TASKS

METRICS = {"sst": "accuracy", "paraphrase": "accuracy", "sts": "pearson"}


def stored_run(database: Path, resolved: Resolved, name: str = "forged-1", state: str = "finished") -> str:
    """Store a run of two epochs, as its worker would, with dummy weight files."""
    life, spec = Life(database), resolved.spec
    run_id = life.create_run(
        spec_json=spec.canonical_json(),
        spec_hash=spec.hash(),
        group_hash=spec.group_hash(),
        origins=dict(resolved.origins),
        name=name,
    )
    life.describe(run_id, data_hash="d" * 64, weights_total=10, weights_trainable=4, adapter_weights={"sst": 2})
    life.add_conditions(run_id, {"device": "a CPU", "threads": 1, "torch": "2"})
    for epoch in (1, 2):
        usage = Usage(1e9, 2.0, 4, power_w=None, missing={"power_w": "no_driver"})
        phase = Phase("train", epoch, "sst", "train", 1.5, steps=3, examples=24, tokens=99, usage=usage)
        scores = [
            Score(epoch, task, split, metric, 0.25 * epoch, None, 0.5 if split == "dev" else float("inf"), 4)
            for task, metric in METRICS.items()
            for split in ("dev", "train")
        ]
        guesses = [
            Prediction(task, epoch, f"{task}-{n}", float(n % 2), 1.0, f"document {n // 2}" if task == "sst" else None)
            for task in TASKS
            for n in range(4)
        ]
        life.put_train_points(run_id, [TrainPoint(3 * epoch, epoch, "sst", 3, 0.7)])
        life.put_interim_scores(run_id, [InterimScore(3 * epoch - 1, epoch, "sst", "accuracy", 0.2, None, 0.9, 4)])
        life.put_epoch(
            run_id,
            Epoch(epoch, 0.25 * epoch, 0.2, None, f"2026-01-0{epoch}T00:00:00.000Z"),
            scores,
            [phase],
            best_epoch=epoch,
            task_bests=[TaskBest(task, epoch, 0.25 * epoch) for task in TASKS],
            predictions=guesses,
        )
    life.put_event(run_id, "data", "2 of 9 rows left out (no label)")
    life.put_samples(run_id, [SampleRow(n, 1e9 + n, "train", rss_mib=100.5 + n) for n in (1, 2)])
    life.finish(run_id, state)
    life.close()
    folder = run_folder(database, run_id)
    folder.mkdir(parents=True)
    for name in ("epoch-2.safetensors", "epoch-2-sst.safetensors"):
        (folder / name).write_bytes(name.encode() * 40)
    return run_id


def record_of(database: Path, run_id: str) -> RunRecord:
    with RowReader(database) as reader:
        return reader.record(reader.run(run_id), predictions=True)


def bundle_of(database: Path, run_id: str, path: Path) -> Path:
    with RowReader(database) as reader, reader.rows(run_id) as rows:
        record = reader.record(reader.run(run_id))
        whole_file(path, True, lambda file: write_bundle(record, rows, run_folder(database, run_id), file))
    return path


def everything(database: Path) -> dict[str, list[Any]]:
    """All rows of a database's runs, and the files of its run folders."""
    found: dict[str, list[Any]] = {}
    with RowReader(database) as reader:
        for run in reader.runs():
            with reader.rows(run.id) as rows:
                found[run.id] = [dataclasses.asdict(run), {table: list(each) for table, each in rows.items()}]
    folder = database.with_name(f"{database.name}-runs")
    found["files"] = sorted((str(path.relative_to(folder)), path.read_bytes()) for path in folder.rglob("*.*"))
    return found


Change = Callable[[list[dict[str, Any]]], object]


class Forger:
    """Creates valid bundles except for one change, with matching hashes."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        with zipfile.ZipFile(bundle) as archive:
            self.contents = {name: archive.read(name) for name in archive.namelist()}
        self.folder = folder

    def rows(self, table: str, change: Change) -> Path:
        """Change a table's rows, in place or by returning new ones."""
        rows = [json.loads(line) for line in self.contents[f"rows/{table}.jsonl"].splitlines()]
        rows = change(rows) or rows
        return self.files({f"rows/{table}.jsonl": b"".join(map(encoded, rows))})

    def set(self, table: str, **values: Any) -> Path:
        """Set values of a table's first row."""
        return self.rows(table, lambda rows: rows[0].update(values))

    def files(self, changed: Mapping[str, bytes | None] | None = None, **about: Any) -> Path:
        """Change, add or remove (None) files, and change the manifest."""
        contents = {**self.contents, **(changed or {})}
        contents = {name: content for name, content in contents.items() if content is not None}
        manifest = json.loads(contents.pop("manifest.json"))
        manifest["files"] = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in contents.items()
        }
        return self.zip([*contents.items(), ("manifest.json", json.dumps({**manifest, **about}).encode())])

    def zip(self, entries: list[tuple[str, bytes]], tweak: Callable[[zipfile.ZipInfo], object] = id) -> Path:
        """Pack entries as `write_bundle` does, with changes to each by `tweak`."""
        path = self.folder / "forged.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in entries:
                info = zipfile.ZipInfo(name)
                info.compress_type = zipfile.ZIP_STORED if name.startswith("weights/") else zipfile.ZIP_DEFLATED
                info.external_attr = 0o100644 << 16
                tweak(info)
                archive.writestr(info, content)
        return path
