"""Streams, warnings, errors and exit codes of a command.

Only a bug of ours ends with a traceback and exit code 1. What the operating system refuses, a
stream that cannot take a character and a pipe that nobody reads any more are no bugs.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import typer

from cuecard.errors import CuecardError, CuecardWarning, FileError
from cuecard.visible import visible

_PRINTERS = ("rich.", "typer.")
INTERRUPTED = 130
PIPE_CLOSED = 141  # 128 and SIGPIPE, as the shell's own tools end


@contextmanager
def boundary(words: Sequence[str]) -> Iterator[None]:
    """Run a command in the block and end the process with its exit code.

    Args:
        words: the command line.

    Raises:
        SystemExit: always: 0 done, 2 a user's mistake or the system's refusal, 130 stopped by
            Ctrl-C, 141 the reader of our output has gone.
    """
    as_json = "--json" in words
    _prepare_streams()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore")  # libraries' notices are not for a command line's user
        warnings.filterwarnings("always", category=CuecardWarning)
        warnings.showwarning = _warning_printer(as_json)
        try:
            _refuse_closed_output()
            try:
                yield
            except SystemExit as end:
                # typer and rich turn a closed pipe into an exit of their own.
                if isinstance(end.__context__, BrokenPipeError):
                    raise end.__context__ from None
                _flush()
                raise
            _flush()
            sys.exit(0)
        except CuecardError as error:
            sys.exit(_fail(error, as_json))
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            _discard(sys.stdout)
            sys.exit(PIPE_CLOSED)
        except OSError as error:
            sys.exit(_fail(FileError.of(error, *_output_at_fault(error)), as_json))
        except MemoryError as error:
            sys.exit(_fail(_no_memory(error), as_json))


def json_line(value: Any, stream: TextIO | None = None) -> str:
    """A JSON object as one line, in characters that the stream can take.

    Args:
        stream: standard output by default.
    """
    encoding = getattr(stream or sys.stdout, "encoding", None) or "utf-8"
    unicode = encoding.lower().replace("-", "").startswith("utf")
    return json.dumps(value, ensure_ascii=not unicode, allow_nan=False)


def _prepare_streams() -> None:
    """Let output escape what its encoding lacks, and make up for a closed standard error."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _refuse_closed_output() -> None:
    if sys.stdout is None:
        raise FileError(
            "standard output is closed",
            expected="an open standard output",
            hint="to discard the output, write > /dev/null",
        )


def _fail(error: CuecardError, as_json: bool) -> int:
    """Print an error where its reader looks for it; its exit code."""
    with suppress(OSError):  # the output itself may be what failed
        if as_json and sys.stdout is not None:
            typer.echo(json_line(error.to_dict()))
            _flush()
            return error.exit_code
    _discard(sys.stdout)
    with suppress(OSError):
        typer.echo(visible(f"cuecard: {error}"), err=True)
    return error.exit_code


def _warning_printer(as_json: bool) -> Any:
    def show(message: Warning | str, *_: object, **__: object) -> None:
        event = {"event": "warning", "text": str(message)}
        typer.echo(
            json_line(event, sys.stderr) if as_json else visible(f"cuecard: warning: {message}"),
            err=True,
        )

    return show


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _output_at_fault(error: OSError) -> tuple[str | None, str | None]:
    """What to say of an error without a file name that comes from printing."""
    if error.filename is not None:
        return None, None
    try:
        _flush()
    except OSError:
        return "cannot write the output", "standard output"
    frames = traceback.walk_tb(error.__traceback__)
    printing = any(frame.f_globals.get("__name__", "").startswith(_PRINTERS) for frame, _ in frames)
    return ("cannot write the output", "standard output") if printing else (None, None)


def _discard(stream: TextIO | None) -> None:
    """What the stream still holds goes nowhere, or Python would fail at the end once more."""
    with suppress(OSError, AttributeError, ValueError):
        if stream is not None:
            stream.flush()
            return
    with suppress(OSError, AttributeError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # type: ignore[union-attr]


def _no_memory(error: MemoryError) -> CuecardError:
    return CuecardError(
        "out of memory",
        got=str(error) or None,
        hint="use fewer --batch-rows, a smaller --max-length or a smaller backbone",
    )
