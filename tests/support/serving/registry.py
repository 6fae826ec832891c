"""A registry that a server of its own process is given, and the right answers of its prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cuecard
from cuecard.registry import Registry
from cuecard.types import Record
from support.data.reviews import TEXT_SPEC
from support.serving.app import MakePrompt

TEXT = "a warm and funny film"


def fill(place: Path, backbone: Any, make_prompt: MakePrompt) -> Path:
    """Two versions of reviews, the first in production, and titles."""
    registry = Registry(place, who="ann@desk")
    for seed in (1, 2):
        registry.push(make_prompt(seed, backbone=backbone), "reviews")
    registry.push(make_prompt(3, TEXT_SPEC, backbone=backbone), "titles")
    registry.promote("reviews@1", "production")
    return place


def right(backbone: Any, place: Path, reference: str, text: str = TEXT) -> Any:
    """What the library answers under that prompt."""
    prompt = Registry(place).read(reference).prompt
    return cuecard.answer(backbone, prompt, [Record({"text": text}, None)])[0]
