"""Where things are kept: the database, the run folders, the token cache, the shipped presets."""

from __future__ import annotations

import os
import re
from pathlib import Path

from peftbench.errors import MissingError

APP = "peftbench"


def default_database() -> Path:
    """Return the database to use: `PEFTBENCH_DB`, else `peftbench.db` in the platform's data folder."""
    from_environment = os.environ.get("PEFTBENCH_DB")
    if from_environment:
        return Path(from_environment).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir(APP, appauthor=False)) / "peftbench.db"


def run_folder(database: Path, run_id: str) -> Path:
    """Return the folder of one run's log and checkpoints, beside its database.

    Raises:
        MissingError: the id, which a database from elsewhere may hold, is none of ours.
    """
    if not re.fullmatch("[a-z0-9]{8}", run_id):
        raise MissingError(f"{database}: the run id {run_id!r} is not one that peftbench made")
    return runs_folder(database) / run_id


def worker_log(database: Path, run_id: str) -> Path:
    """Return the file that a run's workers print into."""
    return run_folder(database, run_id) / "worker.log"


def runs_folder(database: Path) -> Path:
    """Return the folder beside a database for what its runs leave in files."""
    database = database.resolve()
    return database.with_name(f"{database.stem}-runs")


def cache_folder() -> Path:
    """Return the folder for what can be made again: `PEFTBENCH_CACHE`, else the platform's cache folder."""
    from_environment = os.environ.get("PEFTBENCH_CACHE")
    if from_environment:
        return Path(from_environment).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir(APP, appauthor=False))


def presets_folder() -> Path:
    """Return the shipped presets: inside an installed wheel, or at the top of a checkout."""
    inside_the_wheel = Path(__file__).parent / "presets"
    return inside_the_wheel if inside_the_wheel.is_dir() else Path(__file__).parent.parent / "presets"
