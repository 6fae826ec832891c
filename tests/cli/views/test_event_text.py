"""Events as lines."""

from __future__ import annotations

import pytest

from cuecard.cli.views.event_text import event_text


@pytest.mark.parametrize(("more", "flag"), [({}, "--budget"), ({"contestant": "auto"}, "--steps")])
def test_what_sets_a_races_budget(more: dict[str, str], flag: str) -> None:
    race = {"event": "race", "budget": "90 steps", "steps": 0, "left_out": ["x"], "contestants": []}
    assert event_text({**race, **more}) == (
        f"A budget of 90 steps has no room for a race; {flag} sets it"
    )
