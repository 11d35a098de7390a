"""How long tests wait for what must come: only something that hangs takes so long, however busy the machine is."""

from __future__ import annotations

from peftbench.store.rows import now

PATIENCE_S = 240.0  # below pytest's own limit, so that the test itself can say what did not come


def moment_after(moment: str | None) -> str:
    """Wait until the store's clock, of milliseconds, shows a later moment; return it."""
    assert moment is not None
    while (later := now()) <= moment:
        pass
    return later
