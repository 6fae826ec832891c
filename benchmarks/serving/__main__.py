"""Run by `python -m benchmarks.serving`."""

import sys

from benchmarks.serving.benchmark import main

sys.exit(main())
