"""Run by `python -m benchmarks.vision`."""

import sys

from benchmarks.vision.benchmark import main

sys.exit(main())
