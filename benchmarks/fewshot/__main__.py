"""Run by `python -m benchmarks.fewshot`."""

import sys

from benchmarks.fewshot.benchmark import main

sys.exit(main())
