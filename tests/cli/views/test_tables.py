"""Text is text on a terminal, and tables are legible where it is narrow."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cuecard.cli.views.console import plain_console
from cuecard.cli.views.tables import fits, print_facts, print_table, say, say_line
from cuecard.visible import visible

HOSTILE = [":tada: party", "[red]loud[/red]", "[link=x]y[/link]", "a\\[b]", "[/]", "`*_<b>|$x$"]
COLUMNS = ("prompt", "accuracy", "macro-F1", "95% interval", "prompt tokens/request", "bytes/task")
ROWS = [("by hand: zero-shot", "0.512", "0.498", "0.480 - 0.544", "1,234", "0")] * 2


def terminal(width: int = 80) -> Console:
    return plain_console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)


def shown(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("markup", [False, True], ids=["our console", "a console with markup"])
def test_text_is_never_markup(text: str, markup: bool) -> None:
    out = terminal() if not markup else Console(file=io.StringIO(), width=80)
    say(out, text)
    say_line(out, text)
    print_table(out, ("name", text), [(text, "1")], title=text)
    print_facts(out, [(text, text)])
    assert shown(out).count(text) == 7


def test_strings_that_forget_the_helpers_are_text_too() -> None:
    out = terminal()
    out.print(HOSTILE[0], HOSTILE[1])
    assert f"{HOSTILE[0]} {HOSTILE[1]}" in shown(out)


def test_a_terminal_obeys_no_label() -> None:
    out = terminal()
    print_table(out, ("label",), [("\x1b[31mred\x07",), ("back\u202ewards",)])
    assert "\x1b" not in shown(out) and "\x07" not in shown(out)
    assert r"\x1b[31mred\x07" in shown(out) and r"\u202e" in shown(out)
    assert visible("two\nlines\tand é 😀 \u200d") == "two\nlines\tand é 😀 \u200d"


@pytest.mark.parametrize("width", [80, 60, 40])
def test_every_cell_is_whole_at_every_width(width: int) -> None:
    out = terminal(width)
    print_table(out, COLUMNS, ROWS, bold=(1,))
    text = shown(out)
    assert max(map(len, text.splitlines())) <= width
    words = [word for row in ROWS for cell in row for word in cell.replace("-", "- ").split()]
    assert all(text.count(word) >= words.count(word) for word in words)


def test_a_comparison_is_a_table_on_a_small_terminal() -> None:
    columns = (*COLUMNS, "fit CPU-s", "test s")
    names = "by hand: instruction (content-free-calibrated)", "trained: prompt-tuning"
    rows = [(name, *ROWS[0][1:], "1,234.5", "61.2") for name in names]
    out = terminal(80)
    assert fits(columns, rows, out)
    print_table(out, columns, rows)
    assert max(map(len, shown(out).splitlines())) <= 80


def test_names_are_not_broken_at_hyphens() -> None:
    out = terminal(40)
    rows = [("p-tuning-v2", "keys and values of every layer", "yes, but not with-out keys")]
    print_table(out, ("method", "trains", "works"), rows, left=("trains", "works"))
    assert "p-tuning-v2" in shown(out) and "\n\n" not in shown(out)


def test_what_does_not_fit_becomes_blocks() -> None:
    assert fits(COLUMNS, ROWS, terminal(80)) and not fits(COLUMNS, ROWS, terminal(40))
    out = terminal(40)
    print_table(out, COLUMNS, ROWS)
    assert shown(out).count("macro-F1") == 2 and "\n\n" in shown(out)


def test_long_paths_leave_a_table_a_table() -> None:
    out = terminal(60)
    path = "/" + "deep" * 30
    print_table(out, ("prompt", "mean"), [(path, "0.5")])
    assert "".join(shown(out).split()) == f"promptmean{path[:54]}0.5{path[54:]}"


def test_commands_are_never_broken_into_lines() -> None:
    out = terminal(40)
    command = "cuecard predict " + "x" * 100 + " 'some text'"
    say_line(out, command)
    assert command in shown(out)
