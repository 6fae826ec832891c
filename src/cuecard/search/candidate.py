"""A prompt in words that a search tries."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from cuecard.evaluation.baselines.manual import ManualPrompt


@dataclass(frozen=True)
class PromptCandidate:
    """A hand-written prompt, or one that a search has written.

    Attributes:
        prompt: its words. Two candidates with the same words are one, whatever they are called.
        origin: how it came to be, for people.
    """

    prompt: ManualPrompt
    origin: str = ""

    @cached_property
    def key(self) -> str:
        """SHA-256 of its words."""
        return digest(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Its words, as JSON knows them."""
        found = asdict(self.prompt)
        del found["name"]
        found["demonstrations"] = [
            {**record.texts, "": str(record.target)} for record in self.prompt.demonstrations
        ]
        return found

    @property
    def length(self) -> int:
        """Characters of all that does not change from record to record."""
        shown = sum(sum(map(len, r.texts.values())) for r in self.prompt.demonstrations)
        return len(self.prompt.instruction) + len(self.prompt.template) + shown


def digest(value: Any) -> str:
    """SHA-256 of anything that JSON holds, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
