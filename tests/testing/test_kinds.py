"""The checks of kinds of tasks: ours pass, and what breaks a promise is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cuecard.tasks import KINDS, Task
from cuecard.testing import KIND_CHECKS, check_kind
from support.data.head_tasks import number_task, tag_task
from support.data.pairs import pair_task
from support.data.reviews import review_task, title_task

TASKS: tuple[Callable[[], Task], ...] = (
    review_task,
    title_task,
    number_task,
    tag_task,
    pair_task,
)


@pytest.mark.parametrize("make", TASKS)
@pytest.mark.parametrize("check", KIND_CHECKS)
def test_ours_pass(make: Callable[[], Task], check: str) -> None:
    KIND_CHECKS[check](make())


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ({"about": ""}, "description: `about` says nothing"),
        ({"metric": "speed"}, r"scores: metrics that majority class lacks: \['speed'\]"),
        ({"check_target": lambda spec, record: None}, "targets: a record without a target"),
        ({"baselines": lambda spec, train, test: []}, "scores: there is no baseline"),
    ],
)
def test_what_is_broken_is_told(
    broken: dict[str, Any], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = review_task()
    for name, value in broken.items():
        monkeypatch.setattr(KINDS["classification"], name, value, raising=False)
    with pytest.raises(AssertionError, match=told):
        check_kind(task)
