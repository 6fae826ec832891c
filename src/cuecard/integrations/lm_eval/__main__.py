"""`lm_eval`'s own command line, which knows `--model cuecard`."""

from __future__ import annotations

import sys

from cuecard.cli.boundary import boundary
from cuecard.lazy import import_library


def main() -> None:
    """Run it; what cuecard refuses ends with exit code 2, as in its own commands."""
    with boundary(sys.argv[1:]):
        import_library("cuecard.integrations.lm_eval.harness_model")
        import_library("lm_eval.__main__").cli_evaluate()


if __name__ == "__main__":
    main()
