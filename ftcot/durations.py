"""Times as people write them in a config.

timeout=90m   ──>   5400.0 seconds
"""

from __future__ import annotations

import re

from ftcot.errors import InputError

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(value: object, key: str = "timeout") -> float | None:
    """A config's time in seconds; None: no limit.

    Raises:
        InputError: it is no time.
    """
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd]?)", str(value).strip())
    length = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if length <= 0:
        raise InputError(f"{key}={value}: expected seconds, or a time such as 90m, 2h or 1d")
    return length
