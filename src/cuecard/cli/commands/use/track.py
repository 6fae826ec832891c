"""`cuecard track`: finished runs in a tracker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cuecard.cli.completion import completer
from cuecard.cli.options import listed
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import print_table
from cuecard.errors import ConfigError
from cuecard.tracking import TRACKERS, Replayed, TrackerName, check_installed, replay, runs_in
from cuecard.validation_text import counted


def track(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUNS...", help="Run folders, or folders of runs."),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="NAMES",
            help=f"The trackers, separated by commas: {', '.join(TRACKERS)}.",
            autocompletion=completer(lambda _: TRACKERS),
        ),
    ],
    as_json: Json = False,
) -> None:
    r"""Send finished runs to a tracker: TensorBoard, MLflow, Weights & Biases or Trackio.

    Reads the runs' logs and sends what `--report-to` would have sent. `tracking.json` in a run's
    folder says what was sent, so that nothing is sent twice.

    Example: cuecard track runs/* --to tensorboard

    Exit codes: 0 done, 2 bad input, or a tracker that did not take everything.
    """
    names = _names(to)
    check_installed(names, "--to")
    folders = [run for path in runs for run in runs_in(path)]
    found = [one for folder in folders for one in replay(folder, names)]
    if as_json:
        print_json({"event": "result", "runs": [one.to_dict() for one in found]})
    else:
        rows = [(str(one.run), one.tracker, _said(one)) for one in found]
        print_table(console(), ("run", "tracker", "numbers"), rows, left=("tracker", "numbers"))
    if any(one.error is not None for one in found):
        raise typer.Exit(ConfigError.exit_code)


def _names(text: str) -> tuple[TrackerName, ...]:
    """
    Raises:
        ConfigError: a tracker that is not known.
    """
    given = dict.fromkeys(listed(text))
    unknown = [name for name in given if name not in TRACKERS]
    if unknown:
        raise ConfigError(
            "there is no such tracker",
            where="--to",
            got=", ".join(map(repr, unknown)),
            expected=", ".join(TRACKERS),
        )
    return tuple(name for name in TRACKERS if name in given)


def _said(found: Replayed) -> str:
    if found.error is not None:
        return f"{counted(found.sent, 'number')} sent, then it failed: {found.error}"
    before = f"{found.known:,} were sent before"
    if not found.sent:
        return f"nothing new: {before}" if found.known else "none in its log"
    return f"{found.sent:,} sent" + (f", {before}" if found.known else "")
