"""A run in one piece: a recipe, the folder it is kept in, and what it would cost."""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.runs.folder import RunFolder
    from cuecard.runs.recipe import Recipe

__getattr__, __dir__ = lazy_exports(__name__, {".folder": ("RunFolder",), ".recipe": ("Recipe",)})

__all__ = ["Recipe", "RunFolder"]
