"""Run by `python -m benchmarks.training`."""

import sys

from benchmarks.training.benchmark import main

sys.exit(main())
