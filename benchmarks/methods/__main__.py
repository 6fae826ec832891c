"""Run by `python -m benchmarks.methods`."""

import sys

from benchmarks.methods.benchmark import main

sys.exit(main())
