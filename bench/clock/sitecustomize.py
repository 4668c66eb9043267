"""Tells bench/overhead.py of each worker that starts: FTCOT_CLOCK/PID holds the moment its process was created.

Python imports a module of this name when it starts.
"""

import os
import sys
from pathlib import Path

if "FTCOT_CLOCK" in os.environ and "ftcot.worker" in sys.orig_argv:
    # The kernel counts from the machine's start, in hundredths of a second.
    _created = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    _draft = Path(os.environ["FTCOT_CLOCK"]) / f".{os.getpid()}"
    _draft.write_text(str(_created))
    _draft.rename(_draft.with_name(str(os.getpid())))
