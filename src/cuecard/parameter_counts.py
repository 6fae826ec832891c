"""How much of a model is trained, in the words of PEFT's `print_trainable_parameters`."""

from __future__ import annotations


def trainable_text(trained: int, parameters: int) -> str:
    """One line.

    Args:
        trained: how many numbers are trained.
        parameters: those and the frozen ones.
    """
    share = 100 * trained / max(1, parameters)
    return f"trainable params: {trained:,} || all params: {parameters:,} || trainable%: {share:.4f}"
