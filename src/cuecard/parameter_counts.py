"""How much of a model was trained."""

from __future__ import annotations


def trained_text(trained: int, total: int) -> str:
    """One line, such as "trained 48,960 of 134,563,968 (0.036%)".

    Args:
        trained: how many numbers are trained.
        total: those and the frozen ones.
    """
    share = 100 * trained / max(1, total)
    digits = f"{share:.3f}" if share >= 0.01 or not trained else f"{share:.2g}"
    return f"trained {trained:,} of {total:,} ({digits}%)"
