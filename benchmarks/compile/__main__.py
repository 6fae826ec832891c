"""Run by `python -m benchmarks.compile`."""

import sys

from benchmarks.compile.benchmark import main

sys.exit(main())
