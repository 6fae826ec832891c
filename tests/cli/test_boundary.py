"""Where a command meets the shell: closed and full outputs, narrow encodings, the system's no."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from cuecard.cli.boundary import PIPE_CLOSED, boundary, json_line
from cuecard.errors import DataError, DataWarning, FileError
from support.command_line import Call

# A command line of a few milliseconds with the boundary of the real one.
_SCRIPT = """
import sys
import typer
from cuecard.cli.boundary import boundary
with boundary(sys.argv[2:]):
    exec(sys.argv[1])
"""
_NAME = "résumé \\U0001f41b \\udce9"


def shell(code: str, redirection: str = "", *words: str, **environment: str) -> tuple[int, str]:
    """Run code inside the boundary, under a shell; its exit code and all it wrote."""
    command = [sys.executable, "-c", _SCRIPT, code, *words]
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$@" {redirection}', "bash", *command],
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", **environment},
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_a_full_output_is_told(as_json: list[str]) -> None:
    code, said = shell("typer.echo('x')", "> /dev/full", *as_json)
    assert (code, "Traceback" in said) == (2, False)
    assert "standard output" in said and "No space left on device" in said


def test_a_full_output_is_told_where_the_last_line_is_still_held_back() -> None:
    code, said = shell("sys.stdout.write('x')", "> /dev/full")
    assert code == 2 and "standard output" in said and "ignored" not in said


def test_a_full_output_is_told_of_a_long_table_too() -> None:
    code, said = shell("import rich; rich.print('word ' * 10000)", "> /dev/full")
    assert code == 2 and "standard output" in said and "Traceback" not in said


def test_a_closed_output_is_refused_before_the_work() -> None:
    code, said = shell("raise RuntimeError('the work')", ">&-")
    assert code == 2 and "standard output is closed" in said and "> /dev/null" in said


def test_closed_errors_hide_nothing_else() -> None:
    assert shell("typer.echo('x'); typer.echo('y', err=True)", "2>&-") == (0, "x\n")


def test_a_reader_that_leaves_is_no_error() -> None:
    code, said = shell("[typer.echo('x' * 1000) for _ in range(10000)]", "| head -c 3")
    assert (code, said) == (PIPE_CLOSED, "xxx")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict", "utf-8:strict"])
def test_no_character_is_too_much_for_an_encoding(encoding: str) -> None:
    code, said = shell(f"typer.echo('{_NAME}')", PYTHONIOENCODING=encoding)
    assert code == 0 and "sum" in said


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_stays_json_in_every_encoding(encoding: str) -> None:
    code = f"from cuecard.cli.boundary import json_line; typer.echo(json_line('{_NAME}'))"
    status, said = shell(code, PYTHONIOENCODING=encoding)
    assert status == 0
    assert json.loads(said) == "résumé \U0001f41b \udce9"


def test_what_the_system_refuses_is_told_with_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, boundary([]):
        Path("/proc/cuecard/x").write_text("x")
    said = capsys.readouterr().err
    assert end.value.code == 2 and "/proc/cuecard/x" in said and "Traceback" not in said


def test_a_bug_keeps_its_traceback() -> None:
    code, said = shell("raise ZeroDivisionError")
    assert code == 1 and "Traceback" in said


def test_our_warnings_are_shown_and_others_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        warnings.warn("of a library", UserWarning, stacklevel=1)
        warnings.warn(DataWarning("two rows were left out"), stacklevel=1)

    with pytest.raises(SystemExit) as end, boundary([]):
        work()
    assert end.value.code == 0
    assert capsys.readouterr().err == "cuecard: warning: two rows were left out\n"


def test_warnings_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), boundary(["--json"]):
        warnings.warn(DataWarning("x"), stacklevel=1)
    assert json.loads(capsys.readouterr().err) == {"event": "warning", "text": "x"}


def test_errors_for_machines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), boundary(["--json"]):
        raise DataError("no rows", where="a file")
    assert json.loads(capsys.readouterr().out)["where"] == "a file"


def test_json_line_follows_the_stream() -> None:
    class Narrow:
        encoding = "iso-8859-1"

    assert json_line("é", Narrow()) == '"\\u00e9"'  # type: ignore[arg-type]


def test_out_of_memory_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, boundary([]):
        raise MemoryError
    assert end.value.code == 2 and "out of memory" in capsys.readouterr().err


def test_a_file_error_says_what_to_do() -> None:
    error = FileError.of(OSError(28, "No space left on device"), "cannot write the file", "x.json")
    assert error.where == "x.json" and "free some disk space" in str(error)


def test_version_ends_well(cuecard: Call) -> None:
    assert cuecard("--version").code == 0
