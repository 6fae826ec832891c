"""What a trained prompt buys: simple baselines and hand-written prompts on the same test rows."""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.comparison.comparison import Proof

__getattr__, __dir__ = lazy_exports(__name__, {".comparison": ("Proof",)})

__all__ = ["Proof"]
