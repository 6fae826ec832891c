"""Run by `python -m benchmarks.graphrag`."""

import sys

from benchmarks.graphrag.benchmark import main

sys.exit(main())
