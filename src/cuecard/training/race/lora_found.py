"""How LoRA did in a race of prompts."""

from __future__ import annotations

from dataclasses import dataclass

from cuecard.validation_text import counted

EVENT = "lora"
"""The event of a run's log that has its fields."""


@dataclass(frozen=True)
class LoraFound:
    """LoRA beside the prompt that led the race, asked the same validation rows.

    Attributes:
        contestant: what LoRA is called.
        against: the contestant that led.
        taken: whether LoRA is clearly better: the interval is above 0.
        why_not: why it did not race to the end; then there are no numbers. None where it did.
        steps, cpu_seconds: of its race, the comparison counted in.
        rows: how many validation rows both were asked.
        metric: what is compared.
        lora, prompt: its values.
        ci95: the paired 95% interval of their difference; None where the rows do not give one.
    """

    contestant: str
    against: str
    taken: bool = False
    why_not: str | None = None
    steps: int = 0
    cpu_seconds: float = 0.0
    rows: int = 0
    metric: str = ""
    lora: float | None = None
    prompt: float | None = None
    ci95: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """All of it in a sentence."""
        if self.lora is None or self.prompt is None:
            return f"{self.contestant} is not taken: {self.why_not}."
        interval = "no interval"
        if self.ci95 is not None:
            interval = f"{self.ci95[0]:+.3f} to {self.ci95[1]:+.3f}"
        better = "clearly better, and taken" if self.taken else "not clearly better, and not taken"
        return (
            f"{self.contestant} after {counted(self.steps, 'step')}: {self.metric} {self.lora:.3f} "
            f"on {counted(self.rows, 'validation row')}, where {self.against} had "
            f"{self.prompt:.3f} ({self.lora - self.prompt:+.3f}, {interval}): {better}."
        )
