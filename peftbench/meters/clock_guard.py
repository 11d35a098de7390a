"""The process that holds a lock on a card's clocks: `python -m peftbench.meters.clock_guard UUID MHZ`.

It locks, says what it did in one line of JSON, and waits for its standard input to end: which it does when the run
closes it, and also when the run's process dies in whatever way, kill -9 included. Then it unlocks and leaves.
"""

from __future__ import annotations

import json
import signal
import sys
import time

from peftbench.errors import PeftbenchError
from peftbench.meters.nvml_library import Nvml, card_of, open_nvml

SETTLE_S = 2.0  # how long the clock may take to show the lock
TOLERANCE_MHZ = 15.0  # clocks move in steps of 15
NOTHING_LOCKED = 3  # exit code
_SM = 1  # NVML_CLOCK_SM


def hold(uuid: str, mhz: int) -> int:
    """Lock, say so, wait, unlock; the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the run, not before
    nvml, reason = open_nvml()
    if nvml is None:
        return _say(status="no_driver", detail=reason)
    try:
        card = card_of(nvml, uuid)
    except PeftbenchError as error:
        return _say(status="lost", detail=error.message)
    status = nvml.ask("nvmlDeviceSetGpuLockedClocks", card.handle, mhz, mhz)[1]
    if status is not None:
        return _say(status=status, detail=card.name)
    try:
        _say(status="ok", detail=card.name, read_mhz=_settled(nvml, card.handle, mhz))
        sys.stdin.buffer.read()
    finally:
        undone = nvml.ask("nvmlDeviceResetGpuLockedClocks", card.handle)[1] is None
    return 0 if undone else 1


def _settled(nvml: Nvml, handle: object, mhz: int) -> float | None:
    """Return the SM clock once it shows the lock, or after a while what it shows instead."""
    until = time.monotonic() + SETTLE_S
    while True:
        clock_mhz: float | None = nvml.value("nvmlDeviceGetClockInfo", handle, _SM)
        if clock_mhz is None or abs(clock_mhz - mhz) <= TOLERANCE_MHZ or time.monotonic() > until:
            return clock_mhz
        time.sleep(0.05)


def _say(**what: object) -> int:
    print(json.dumps(what), flush=True)
    return 0 if what["status"] == "ok" else NOTHING_LOCKED


if __name__ == "__main__":
    sys.exit(hold(sys.argv[1], int(sys.argv[2])))
