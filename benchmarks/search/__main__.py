"""Run by `python -m benchmarks.search`."""

import sys

from benchmarks.search.benchmark import main

sys.exit(main())
