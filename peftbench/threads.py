"""OpenMP wait policy of a worker: sleep if other processes keep the machine busy, spin briefly if not.

GNU OpenMP, which torch uses, lets a waiting thread spin for milliseconds. On a busy machine the thread it waits for is
then not scheduled, and each operation takes a scheduler time slice: 2 % of the throughput of one thread. Threads that
sleep at once reach 87 %, but on an idle machine they wake too late and lose a fifth of the speed; short spins cost
nothing there (`benchmarks/busy`). So a worker measures the load of the machine before it starts. Results do not depend
on the policy: they are bit-identical.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping

POLICY = "OMP_WAIT_POLICY"
SPINS, BLOCK_TIME = "GOMP_SPINCOUNT", "KMP_BLOCKTIME"  # variables of GNU and LLVM, which override the policy
THREADS = "OMP_NUM_THREADS"
ACTIVE = "active"  # default of the libraries, and the policy of runs from before it was recorded
SHORT_SPINS = "10000"  # a fraction of a millisecond, a thirtieth of GNU's default
BUSY_SHARE = 0.25  # fraction of the cores used by other processes above which a machine is busy
_LOOK_S = 0.3


def choose_waiting(variables: MutableMapping[str, str], used_share: Callable[[], float]) -> None:
    """Set the wait policy in the environment, unless it is already set.

    Call it before torch is imported: OpenMP reads the variables once, when it is loaded.

    Args:
        variables: the environment.
        used_share: returns the fraction of the machine's cores used by other processes (`used_by_others`).
    """
    if any(variables.get(name) for name in (POLICY, SPINS, BLOCK_TIME)):
        return
    if variables.get(THREADS) == "1" or used_share() > BUSY_SHARE:
        variables[POLICY] = "passive"
    else:
        variables[SPINS] = SHORT_SPINS


def used_by_others() -> float:
    """Return the fraction of the machine's cores in use, measured for `_LOOK_S` while this process is idle."""
    import psutil

    try:
        return float(psutil.cpu_percent(interval=_LOOK_S)) / 100
    except OSError:  # no /proc: unknown, and sleeping threads do not disturb other processes
        return 1.0


def waiting(variables: Mapping[str, str]) -> str:
    """Return the wait policy set by these variables, in the format of a run's conditions."""
    for name in (SPINS, BLOCK_TIME):
        if value := variables.get(name, "").strip():
            return f"{name}={value}"
    return variables.get(POLICY, "").strip().lower() or ACTIVE
