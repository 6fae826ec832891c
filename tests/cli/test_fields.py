"""Options made of settings: names, defaults, help and errors come from the settings themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from pydantic import BaseModel, Field

from cuecard.cli.fields import Asked, Fields, Flag, expanded
from cuecard.errors import ConfigError
from cuecard.training.config import TrainConfig
from support.command_line import Call


class Inner(BaseModel):
    rate: float | Literal["auto"] | None = Field(default=None, description="A rate. Not shown.")


class Settings(BaseModel):
    place: Annotated[Path, Flag("PLACE")]
    rows: int = Field(default=8, ge=1, description="Rows per pass. More is faster.")
    form: Literal["one", "other"] = Field(default="one", description="Its form.")
    words: dict[str, str] = Field(default_factory=dict)
    names: tuple[str, ...] = ()
    fields: Annotated[tuple[str, ...], Flag("--field", repeat=True)] = ()
    strict: bool = False
    proved: bool = True
    inner: Annotated[Inner, Flag(read=str)] = Inner()


NESTED = Fields(Settings, {"inner.rate": Flag(), "rows": Flag("--batch")}, titles={"inner": "Deep"})
got: list[object] = []


def _checked(settings: Settings, more: bool = False) -> None:
    got[:] = [settings, more]


def _typed(asked: Annotated[Asked[Settings], NESTED]) -> None:
    got[:] = [asked]


def _run(command: object, *words: str) -> None:
    app = typer.Typer(add_completion=False)
    app.command()(expanded(command))  # type: ignore[arg-type]
    app(list(words), standalone_mode=False)


def test_a_command_gets_the_checked_settings() -> None:
    words = ["here", "--rows", "3", "--form", "other", "--words", "a=b", "--names", "x, y"]
    _run(_checked, *words, "--field", "p", "--field", "q", "--strict", "--no-proved", "--more")
    assert got == [
        Settings(
            place=Path("here"),
            rows=3,
            form="other",
            words={"a": "b"},
            names=("x", "y"),
            fields=("p", "q"),
            strict=True,
            proved=False,
        ),
        True,
    ]
    _run(_checked, "here")
    assert got == [Settings(place=Path("here")), False]


@pytest.mark.parametrize(
    ("words", "where", "expected"),
    [
        (["--rows", "0"], "--rows", "1 or more"),
        (["--rows", "many"], "--rows", "a whole number"),
        (["--form", "two"], "--form", "one of 'one' or 'other'"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_its_flag(
    words: list[str], where: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as told:
        _run(_checked, "here", *words)
    assert (told.value.where, told.value.expected) == (where, expected)


def test_settings_as_they_were_typed() -> None:
    _run(_typed, "--rate", "0.5", "--batch", "2")
    (asked,) = got
    assert isinstance(asked, Asked)
    assert asked.values == {"inner": {"rate": 0.5}, "rows": 2}
    assert asked.flags == {"inner.rate": "--rate", "rows": "--batch"}
    assert asked.settings(place="here").inner.rate == 0.5
    _run(_typed, "--rate", "auto")
    (asked,) = got
    assert isinstance(asked, Asked)
    assert asked.values == {"inner": {"rate": "auto"}}


def test_help_is_the_first_sentence_and_the_default(cuecard: Call) -> None:
    shown = " ".join(cuecard("train", "--help").out.split())
    for name in ("steps", "patience", "seed", "lr"):
        field = TrainConfig.model_fields[name]
        sentence = str(field.description).partition(". ")[0].rstrip(".")
        default = "" if field.default is None else f" [default: {field.default}]"
        assert f"{sentence}.{default}" in shown
    assert "By default the optimiser's own" not in shown


def test_a_run_that_is_resumed_takes_no_other_settings(cuecard: Call, tmp_path: Path) -> None:
    for command in ("train", "sweep", "lora"):
        assert "got: --overwrite" in cuecard(command, "--resume", tmp_path, "--overwrite").err
    assert "got: --dry-run" in cuecard("train", "--resume", tmp_path, "--dry-run").err
    for command, words in {
        "train": ["--lr", "3", "--set", "training.clip=1"],
        "sweep": ["--trials", "3", "--recipe", "a.yaml"],
        "lora": ["--rank", "3", "--prompt", "runs/a"],
    }.items():
        told = cuecard(command, "--resume", tmp_path, *words).err
        line = next(line for line in told.splitlines() if line.startswith("  got: "))
        named = [f"--set {words[3].partition('=')[0]}"] if "--set" in words else words[2:3]
        assert set(line.removeprefix("  got: ").split(", ")) == {words[0], *named}
