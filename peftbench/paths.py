"""Locations of files: database, run folders, token cache, shipped presets."""

from __future__ import annotations

import os
import re
from pathlib import Path

from peftbench.errors import MissingError

APP = "peftbench"


def default_database() -> Path:
    """Return the default database: `PEFTBENCH_DB`, else `peftbench.db` in the user data folder of the platform."""
    from_environment = os.environ.get("PEFTBENCH_DB")
    if from_environment:
        return Path(from_environment).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir(APP, appauthor=False)) / "peftbench.db"


def run_folder(database: Path, run_id: str) -> Path:
    """Return the folder of a run's log and checkpoints.

    Searched in this order: `runs_folder` beside the database, the folder of earlier versions, `PEFTBENCH_RUNS_FOLDER`.
    If it is in none of them, the path in `runs_folder` is returned.

    Raises:
        MissingError: the id, which may come from a foreign database, does not have the form of a run id.
    """
    new = new_run_folder(database, run_id)
    others = (folder / run_id for folder in (former_runs_folder(database), other_runs_folder()) if folder is not None)
    return next((folder for folder in (new, *others) if folder.is_dir()), new)


def new_run_folder(database: Path, run_id: str) -> Path:
    """Return the folder for the files of a run that is about to be added to the database.

    Raises:
        MissingError: the id does not have the form of a run id.
    """
    if not is_run_id(run_id):
        raise MissingError(f"{database}: the run id {run_id!r} is not a valid peftbench run id")
    return runs_folder(database) / run_id


def is_run_id(text: str) -> bool:
    """Return whether a text has the form of a run id, which is also a folder name."""
    return re.fullmatch("[a-z0-9]{8}", text) is not None


def worker_log(database: Path, run_id: str) -> Path:
    """Return the log file of a run's worker processes."""
    return run_folder(database, run_id) / "worker.log"


def runs_folder(database: Path) -> Path:
    """Return the folder for the files of a database's runs, beside it and named after its full file name.

    `paper.db` and `paper.bak` have separate folders: deleting a run from one must not delete the other's weights.
    """
    database = database.resolve()
    return database.with_name(f"{database.name}-runs")


def former_runs_folder(database: Path) -> Path | None:
    """Return the folder of earlier versions, shared by all databases with the same stem; None if it is the same."""
    database = database.resolve()
    return database.with_name(f"{database.stem}-runs") if database.suffix else None


def other_runs_folder() -> Path | None:
    """Return an additional folder searched for runs' files: `PEFTBENCH_RUNS_FOLDER`, if set."""
    from_environment = os.environ.get("PEFTBENCH_RUNS_FOLDER")
    return Path(from_environment).expanduser().resolve() if from_environment else None


def cache_folder() -> Path:
    """Return the cache folder: `PEFTBENCH_CACHE`, else the user cache folder of the platform."""
    from_environment = os.environ.get("PEFTBENCH_CACHE")
    if from_environment:
        return Path(from_environment).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir(APP, appauthor=False))


def presets_folder() -> Path:
    """Return the folder of the shipped presets: inside the installed package, or at the top of a checkout."""
    installed = Path(__file__).parent / "presets"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "presets"
