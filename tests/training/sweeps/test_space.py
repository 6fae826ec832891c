from __future__ import annotations

from typing import Any

import pytest
import torch

from cuecard.errors import ConfigError
from cuecard.methods import PromptTuning
from cuecard.training import SweepConfig, TrainConfig
from cuecard.training.sweeps.space import Range, Space, parse_range, parse_value


def space(**options: Any) -> Space:
    return Space(SweepConfig(**options), PromptTuning(length=4, init="random"), TrainConfig())


def test_a_grid_is_every_combination_in_order() -> None:
    found = space(grid={"lr": (0.1, 0.2), "method.init": ("random", "vocabulary")})
    assert found.total == 4
    assert found.combinations[1] == {"training.lr": 0.1, "method.init": "vocabulary"}
    method, config = found.applied(found.combinations[2])
    assert (method.init, method.length, config.lr) == ("random", 4, 0.2)


def test_a_start_prompt_is_kept() -> None:
    start = PromptTuning(init="prompt", prompt=torch.ones(3, 2))
    found = Space(SweepConfig(grid={"lr": (0.1,)}), start, TrainConfig())
    assert found.applied({"training.lr": 0.1})[0].prompt is start.prompt


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"grid": {"leng": (1, 2)}}, "did you mean length"),
        ({"grid": {"training.sed": (1, 2)}}, "did you mean training.seed"),
        ({"grid": {"inputs": ("memory",)}}, "unknown setting"),
        ({"grid": {"prompt": ("a",)}}, "unknown setting"),
        ({"grid": {"length": (0,)}}, "length 0 is for a prompt with a decoder"),
        ({"grid": {"lr": ("auto",)}}, "chooses learning rates itself"),
        ({"grid": {"lr": ()}}, "values is empty"),
        ({"grid": {"lr": (0.1,), "training.lr": (0.2,)}}, "given twice"),
        ({"grid": {"seed": (1, 2, 1)}}, "a value is given twice.*--grid seed.*1, 2, 1.*1 once"),
        ({}, "nothing to sweep"),
        ({"ranges": {"lr": "0.1..1"}}, "tries every combination"),
        ({"grid": {"lr": (0.1,)}, "trials": 3}, "tries every combination"),
        ({"ranges": {"lr": "0.1-1"}, "search": "tpe"}, "not a range"),
        (
            {"ranges": {"length": "0..4"}, "search": "tpe"},
            "length 0 is for a prompt with a decoder",
        ),
    ],
)
def test_mistakes_are_told_before_any_work(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){said}"):
        space(**options)


def test_ranges_and_values_as_typed() -> None:
    assert parse_range("lr", "1e-3..1e-1:log") == Range(0.001, 0.1, log=True)
    whole = parse_range("length", "4..64")
    assert (whole.low, whole.high, whole.log) == (4, 64, False) and isinstance(whole.low, int)
    for text in ("1..1", "2..1", "0..1:log", "1..2:lin", "a..b", "1", "true..2", "1..inf"):
        with pytest.raises(ConfigError, match="not a range"):
            parse_range("lr", text)
    assert [parse_value(t) for t in ("3", "1e-3", "none", "True", " text ")] == [
        3,
        0.001,
        None,
        True,
        "text",
    ]


def test_tpe_has_as_many_trials_as_said() -> None:
    ranges = {"lr": "1e-3..1:log"}
    assert space(ranges=ranges, search="tpe").total == 20
    assert space(ranges=ranges, search="tpe", trials=7).total == 7
    assert SweepConfig(search="tpe").prunes and not SweepConfig().prunes
    assert not SweepConfig(search="tpe", prune=False).prunes
