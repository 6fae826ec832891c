"""A user's data with three labels, and how tests run the command line on it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Run = Callable[..., "subprocess.CompletedProcess[str]"]
TOPICS = {
    "billing": ["charged twice", "refund my invoice", "card was declined", "price on the bill"],
    "bug": ["button does nothing", "app crashes", "error on export", "page stays blank"],
    "question": ["how do I invite", "where is the setting", "can I change", "what does it mean"],
}


def tickets(count: int = 180) -> str:
    """A user's CSV with three labels."""
    lines = ["text,label"]
    topics = list(TOPICS.items())
    for number in range(count):
        label, phrases = topics[number % 3]
        lines.append(f'"{phrases[number // 3 % 4]}, ticket {number} of this week",{label}')
    return "\n".join(lines) + "\n"
