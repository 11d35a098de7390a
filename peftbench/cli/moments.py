"""Parse points in time given by the user: a date, a time, or an age such as `36h`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d{1,6})([smhdw])")


def moment_of(option: str, text: str, now: datetime) -> str:
    """Return a point in time in the database's format: UTC, comparable with stored times as text.

    Args:
        option: name of the option, for messages.
        text: `2026-11-01`, `2026-11-01T09:30` (of the local time zone unless it names one), or `90m`, `36h`, `7d`, `2w`
            before `now`.
        now: current time, with its time zone.

    Raises:
        UsageError: it is none of these.
    """
    from peftbench.errors import UsageError
    from peftbench.text import clean

    try:
        if ago := _AGO.fullmatch(text.strip()):
            moment = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        else:
            moment = datetime.fromisoformat(text.strip())
        utc = (moment if moment.tzinfo else moment.astimezone()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{option} {clean(text, 60)}: not a date or time", "such as 2026-11-01, 2026-11-01T09:30, 36h or 7d"
        ) from error
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")
