"""How the local engine is to run."""

from __future__ import annotations

from dataclasses import dataclass

from cuecard.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Sizes of the local engine.

    Attributes:
        pass_tokens: the most tokens in one forward pass, those of answers being written left out:
            more fill the processor better, fewer let answers go on sooner.
        rows: the most answers being written at a time.
        cache_bytes: for keys and values of prompts, and of what contexts behind them begin with.
        answer_bytes: for keys and values of answers being written.
        prepack_bytes: the most that a copy of a bfloat16 model's weights may take, laid out as
            the processor's products read them; 0 for none.
        beginnings: whether what a prompt's contexts begin with is kept too.

    Raises:
        ConfigError: a size below one.
    """

    pass_tokens: int = 512
    rows: int = 64
    cache_bytes: int = 2**30
    answer_bytes: int = 4 * 2**30
    prepack_bytes: int = 2**30
    beginnings: bool = True

    def __post_init__(self) -> None:
        for name in ("pass_tokens", "rows", "cache_bytes", "answer_bytes"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} must be positive", where=name, got=getattr(self, name), expected="1 up"
                )
