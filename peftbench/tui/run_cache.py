"""Cache of the runs shown: the newest and all unfinished ones; only changed rows are read again."""

from __future__ import annotations

from peftbench.store.reader import Reader
from peftbench.store.rows import Run


class RunCache:
    """Runs of one database.

    `runs`: in listing order. `unreadable`: the reasons by id. `total`: number of runs in the database.
    """

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.unreadable: dict[str, str] = {}
        self.total = 0
        self._version: int | None = None
        self._number = 0
        self._most = 0

    def refresh(self, reader: Reader, most: int) -> set[str] | None:
        """Read what has changed since the last call; return the ids of the changed runs.

        None: nothing in the database has changed, neither runs nor rows that belong to them.

        Args:
            reader: reader of the database.
            most: number of newest runs to hold.
        """
        version = reader.version()  # read first: later writes then count as new in the next call
        if version == self._version and most == self._most:
            return None
        begun = self._version is None
        number, ids = (reader.last_change(), []) if begun else reader.changed(self._number)
        known = self.runs.keys() | self.unreadable.keys()
        read = self._read(reader, [run_id for run_id in ids if run_id in known])
        gone = [run_id for run_id in ids if run_id in known and run_id not in read]
        for run_id in gone:
            self._drop(run_id)
        if begun or gone or most != self._most or any(run_id not in known for run_id in ids):
            read |= self._reload_listing(reader, most)
        self._version, self._number, self._most = version, number, most
        return {*read, *gone}

    def _reload_listing(self, reader: Reader, most: int) -> set[str]:
        ids = reader.newest_ids(most)
        read = self._read(reader, [run_id for run_id in ids if run_id not in self.runs])
        self.runs = {run_id: self.runs[run_id] for run_id in ids if run_id in self.runs}
        self.unreadable = {run_id: reason for run_id, reason in self.unreadable.items() if run_id in set(ids)}
        self.total = reader.count()
        return read

    def _read(self, reader: Reader, ids: list[str]) -> set[str]:
        """Read runs by their ids; return the ids that exist."""
        read = set()
        for run in reader.several(ids):
            read.add(run.id)
            if isinstance(run, Run):
                self.runs[run.id] = run
                self.unreadable.pop(run.id, None)
            else:
                self.runs.pop(run.id, None)
                self.unreadable[run.id] = run.reason
        return read

    def _drop(self, run_id: str) -> None:
        self.runs.pop(run_id, None)
        self.unreadable.pop(run_id, None)
