"""Locking a card's clocks for the time of a run. Asked for explicitly, read back, undone whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from typing import Any

from peftbench.errors import MissingError
from peftbench.meters.clock_guard import NOTHING_LOCKED, TOLERANCE_MHZ
from peftbench.meters.nvml_library import Card, Nvml
from peftbench.store.conditions import ClockLockConditions
from peftbench.text import clean

ANSWER_WITHIN_S = 20.0
_WHY = {
    "no_permission": "the driver allows that to root alone",
    "unsupported": "this card or driver has no locked clocks",
    "lost": "the card does not answer",
    "no_driver": "there is no NVIDIA driver",
}


class ClockLock:
    """A lock that a guard process holds; `undo` it. The guard undoes it too when this process dies.

    Raises:
        MissingError: the clocks cannot be locked; the hint is the command that root can give instead.
    """

    def __init__(self, nvml: Nvml, card: Card, mhz: int) -> None:
        self.nvml, self.card, self.mhz = nvml, card, mhz
        self.guard = subprocess.Popen(
            [sys.executable, "-P", "-m", "peftbench.meters.clock_guard", card.uuid, str(mhz)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        answer = self._answer()
        if answer.get("status") != "ok":
            self._release()
            reason = _WHY.get(str(answer.get("status")), "the guard process did not answer")
            raise MissingError(
                f"--lock-clocks {mhz}: the clocks of {card.name} cannot be locked: {reason}",
                f"as root: nvidia-smi -i {card.uuid} -lgc {mhz},{mhz}   then run without --lock-clocks, and undo it "
                f"with: nvidia-smi -i {card.uuid} -rgc",
            )
        self.read_mhz: float | None = answer.get("read_mhz")
        self.undone: bool | None = None

    def _answer(self) -> dict[str, Any]:
        assert self.guard.stdout is not None
        import selectors

        with selectors.DefaultSelector() as selector:
            selector.register(self.guard.stdout, selectors.EVENT_READ)
            line = self.guard.stdout.readline() if selector.select(ANSWER_WITHIN_S) else b""
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            return {"status": clean(line, 80)}
        return answer

    def undo(self) -> None:
        """Let the guard unlock and wait for it; where it cannot (it was killed, it hangs), unlock here. Once."""
        if self.undone is None:
            self.undone = self._release()

    def _release(self) -> bool:
        """End the guard and tell whether no lock of its is left: a late one may have locked and not yet said so."""
        with suppress(subprocess.TimeoutExpired, BrokenPipeError):
            assert self.guard.stdin is not None
            self.guard.stdin.close()
            self.guard.wait(ANSWER_WITHIN_S)
        if self.guard.poll() is None:
            self.guard.kill()
            self.guard.wait()
        if self.guard.returncode in (0, NOTHING_LOCKED):
            return True
        return self.nvml.ask("nvmlDeviceResetGpuLockedClocks", self.card.handle)[1] is None

    def facts(self) -> ClockLockConditions:
        """Return what is kept with the run."""
        read = self.read_mhz
        return {
            "asked_mhz": self.mhz,
            "read_mhz": read,
            "held": None if read is None else abs(read - self.mhz) <= TOLERANCE_MHZ,
            "undone": self.undone,
        }
