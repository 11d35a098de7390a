"""What is installed from a wheel finds its presets, from any folder, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "peft", "datasets", "matplotlib")
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


def borrowed(venv: Path) -> None:
    """Let an environment use the packages that are installed here, but for the heavy ones."""
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "here.pth").write_text(
        sysconfig.get_path("purelib")
    )  # its own .pth files, as of what is editable, are not read
    for name in HEAVY:
        (site / f"{name}.py").write_text(f"raise ImportError('{name} is not installed')\n")


def installed(venv: Path) -> None:
    """Install the light packages, from the network."""
    subprocess.run([*pip_of(venv), "-c", str(ROOT / "constraints.txt"), *LIGHT], check=True)


def pip_of(venv: Path) -> list[str]:
    options = ["install", "--quiet", "--disable-pip-version-check"]
    return [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), *options]


@pytest.mark.slow
@pytest.mark.parametrize("dependencies", [borrowed, pytest.param(installed, marks=pytest.mark.soak)])
def test_an_installed_wheel_lists_its_presets_from_another_folder(
    dependencies: Callable[[Path], None], wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv, elsewhere = tmp_path / "venv", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.delenv("PYTHONPATH", raising=False)  # what is installed is looked at, not what lies here
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    dependencies(venv)
    subprocess.run([*pip_of(venv), "--no-deps", str(wheel)], check=True)
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
