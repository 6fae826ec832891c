"""Run by `python -m benchmarks.compare`."""

import sys

from benchmarks.compare.benchmark import main

sys.exit(main())
