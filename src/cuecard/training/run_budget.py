"""What a run may spend, as users type it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from cuecard.errors import ConfigError

DEFAULT = "2m"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend on training and validations, the test apart.

    Attributes:
        seconds: of CPU time; None for a budget in steps.
        steps: of all contestants together; None for one in seconds.
    """

    seconds: float | None
    steps: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """ "90s", "2m", "1.5h", "90" (seconds), or "300 steps".

        Raises:
            ConfigError: anything else.
        """
        number, unit = text.strip().lower(), "s"
        for ending in ("steps", "step", "s", "m", "h"):
            if number.endswith(ending):
                number, unit = number.removesuffix(ending).strip(), ending
                break
        try:
            amount = float(number)
        except ValueError:
            amount = 0.0
        in_steps = unit.startswith("step")
        if not 0 < amount < float("inf") or (in_steps and amount != int(amount)):
            raise ConfigError(
                "not a budget",
                where="training.budget",
                got=text,
                expected="CPU time such as 90s, 2m or 1h, or a number of steps such as '300 steps'",
            )
        if in_steps:
            return cls(None, int(amount))
        return cls(amount * {"s": 1, "m": 60, "h": 3600}[unit])

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.steps:,} steps"
        return f"{self.seconds:g} s of CPU time"
