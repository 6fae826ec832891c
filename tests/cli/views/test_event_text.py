"""Events as lines."""

from __future__ import annotations

import pytest

from cuecard.cli.views.event_text import event_text


@pytest.mark.parametrize(
    ("more", "setting"), [({}, "--budget"), ({"set_by": "training.steps"}, "training.steps")]
)
def test_what_sets_a_races_budget(more: dict[str, str], setting: str) -> None:
    race = {"event": "race", "budget": "90 steps", "steps": 0, "left_out": ["x"], "contestants": []}
    assert event_text({**race, **more}) == (
        f"A budget of 90 steps has no room for a race; {setting} sets it"
    )


@pytest.mark.parametrize("named", [{"contestant": "a"}, {"contestant": "auto", "candidate": "a"}])
def test_who_was_chosen_in_a_race(named: dict[str, str]) -> None:
    """Within a comparison's contestant it is one of its candidates."""
    told = {"loss": 0.5, "accuracy": None, "diverged": False}
    assert event_text({"event": "raced", **named, **told}) == "  a: validation loss 0.5000"
    assert event_text({"event": "chosen", **named}) == "Chosen: a"
