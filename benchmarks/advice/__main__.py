"""`python -m benchmarks.advice`: rewrite what `cuecard advise` goes by, and its hit rate.

It reads benchmarks/results alone, and takes a second. Writes the package's measurements.json and
benchmarks/results/advice.json.
"""

from __future__ import annotations

import json
import sys

from benchmarks.advice.measured import RESULT, all_measurements, hit_rates
from cuecard.evaluation.measured.measurements import FILE


def main() -> int:
    """Rewrite both files."""
    known = all_measurements()
    shipped = [each.to_dict() for each in known]
    FILE.write_text(json.dumps(shipped, indent=1) + "\n", encoding="utf-8")
    RESULT.write_text(json.dumps(hit_rates(known), indent=1) + "\n", encoding="utf-8")
    print(json.dumps(hit_rates(known)["advice"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
