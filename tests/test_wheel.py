"""What is installed from a wheel finds its presets, from any folder, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIGHT = ("typer", "rich", "pydantic", "platformdirs", "sqlite-utils", "psutil", "numpy")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_presets_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "peftbench/presets/dora-r12.toml" in names
    assert "peftbench/presets/workloads/quickstart.toml" in names
    assert "peftbench/presets/sweeps/study.toml" in names
    assert "peftbench/py.typed" in names
    published = {f"peftbench/study/published/{name}" for name in ("table1.csv", "table2.csv", "study.toml")}
    assert published <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "presets/", "benchmarks/"))]


@pytest.mark.slow
def test_an_installed_wheel_lists_its_presets_from_another_folder(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv, elsewhere = tmp_path / "venv", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.delenv("PYTHONPATH", raising=False)  # what is installed is looked at, not what lies here
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), *LIGHT], check=True)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    done = subprocess.run(
        [str(venv / "bin/peftbench"), "presets", "--json"], cwd=elsewhere, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    listed = {preset["name"]: preset["path"] for preset in json.loads(done.stdout)}
    assert "dora-r12" in listed
    assert Path(listed["dora-r12"]).is_relative_to(venv)
    done = subprocess.run(
        [str(venv / "bin/peftbench"), "workloads"], cwd=elsewhere, capture_output=True, text=True, check=True
    )
    assert "quickstart" in done.stdout
