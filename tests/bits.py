"""Whether a change keeps every bit: a hash of what each preset comes to, recorded before it and checked after.

    python -m tests.bits FILE     records the hashes in FILE where it does not exist, else names what differs

They hold for one machine and one version of torch: other processors round otherwise.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file

import peftbench
from peftbench.paths import run_folder
from peftbench.spec.files import shipped
from tests.faults.finals import final
from tests.tiny import tiny_encoder_into, tiny_overrides

NEEDS_A_MODEL = "dora-r12-augmented"  # back translation


def hashes(folder: Path) -> dict[str, dict[str, str]]:
    """Train every preset on a tiny quickstart; return a hash of the spec and of each part of the result."""
    encoder = tiny_encoder_into(folder / "encoder")
    hashed = {}
    for preset in shipped("preset"):
        if preset == NEEDS_A_MODEL:
            continue
        overrides = [*tiny_overrides(encoder), *(["method.layers=1"] if preset.endswith("top6") else [])]
        record = peftbench.run(preset, overrides=overrides, database=folder / "runs.db")
        parts = final(folder / "runs.db", record.run.id)
        files = run_folder(folder / "runs.db", record.run.id).glob("epoch-*.safetensors")
        parts["weights"] = [_tensors(path) for path in sorted(files)]
        hashed[preset] = {part: hashlib.sha256(repr(rows).encode()).hexdigest()[:16] for part, rows in parts.items()}
        print(f"{preset}: {record.run.state}", flush=True)
    return hashed


def _tensors(path: Path) -> list[tuple[str, bytes]]:
    """Return the tensors of a file: its header names the spec, whose encoder lies in another folder each time."""
    return [(name, tensor.numpy().tobytes()) for name, tensor in sorted(load_file(path).items())]


def main() -> int:
    """Record or check; return 1 where something differs."""
    file = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        now = hashes(Path(name))
    if not file.exists():
        file.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        return 0
    before = json.loads(file.read_text(encoding="utf-8"))
    differing = [
        f"{preset} {part}"
        for preset in sorted(before.keys() | now.keys())
        for part in sorted(before.get(preset, {}).keys() | now.get(preset, {}).keys())
        if before.get(preset, {}).get(part) != now.get(preset, {}).get(part)
    ]
    print("\n".join(differing) or f"{len(now)} presets: the same to the bit")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
