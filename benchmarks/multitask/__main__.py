"""Run by `python -m benchmarks.multitask`."""

import sys

from benchmarks.multitask.benchmark import main

sys.exit(main())
