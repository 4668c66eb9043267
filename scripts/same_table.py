"""Print the tables of two sweeps and say whether they are the same: `python scripts/same_table.py SWEEP_FOLDER OTHER`.

    seed=0   complete  12.50 %  5f0c12ab
    seed=1   complete  37.50 %  77aa01cd

Exit code 0: the same jobs, states and accuracies; 1: not. What differs by nature (times, folders) is left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ftcot.ledger import Ledger


def table(sweep: Path) -> list[str]:
    """One line a job, in the order of the jobs."""
    lines = []
    for _, row in sorted(Ledger(sweep).states().items()):
        accuracy = "no accuracy" if row.get("accuracy") is None else f"{100 * row['accuracy']:.2f} %"
        lines.append(f"{' '.join(row['overrides']):24} {row['state']:9} {accuracy:>11}  {row['hash'][:8]}")
    return lines


def main(one: str, other: str) -> int:
    mine, theirs = table(Path(one)), table(Path(other))
    print("\n".join(mine))
    if mine and mine == theirs:
        return 0
    print("the other sweep's table is different:", *theirs, sep="\n", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
