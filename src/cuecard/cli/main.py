"""`cuecard`: the commands, and how their errors reach a user."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence

import typer

from cuecard.cli.backbones import backbones
from cuecard.cli.demo import demo
from cuecard.cli.doctor import doctor
from cuecard.cli.ensemble import ensemble
from cuecard.cli.evaluate import evaluate
from cuecard.cli.export import export
from cuecard.cli.import_prompt import import_prompt
from cuecard.cli.inspect import inspect
from cuecard.cli.methods import methods
from cuecard.cli.nearest import nearest
from cuecard.cli.predict import predict
from cuecard.cli.sweep import sweep
from cuecard.cli.train import train
from cuecard.errors import CuecardError

app = typer.Typer(
    name="cuecard",
    help="Adapt one frozen language model to many tasks with prompts of a few kilobytes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
)
for name, command in (
    ("demo", demo),
    ("train", train),
    ("sweep", sweep),
    ("eval", evaluate),
    ("predict", predict),
    ("inspect", inspect),
    ("ensemble", ensemble),
    ("nearest", nearest),
    ("export", export),
    ("import", import_prompt),
    ("methods", methods),
    ("backbones", backbones),
    ("doctor", doctor),
):
    app.command(name)(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 a user's mistake, 130 stopped by Ctrl-C, 1 a bug."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore")  # libraries' notices are not for a command line's user
    try:
        app(words, standalone_mode=True)
    except CuecardError as error:
        _tell(error, as_json="--json" in words)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _tell(error: CuecardError, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(error.to_dict(), ensure_ascii=False))
    else:
        typer.echo(f"cuecard: {error}", err=True)
