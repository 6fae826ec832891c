"""What methods, kinds of tasks and searchers promise, as checks for those who write their own.

Checks are plain functions that raise `AssertionError`; they need pytest no more than cuecard does.
They run in seconds: on random models of two layers, and on an LLM that answers by a function.
"""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.testing.kinds import KIND_CHECKS, check_kind
    from cuecard.testing.methods import METHOD_CHECKS, MethodCase, check_method, method_cases
    from cuecard.testing.rows import review_task, reviews
    from cuecard.testing.scripted import run_scripted_search
    from cuecard.testing.searchers import SEARCHER_CHECKS, check_searcher
    from cuecard.testing.tiny import tiny_backbone, tiny_tokenizer

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".kinds": ("KIND_CHECKS", "check_kind"),
        ".methods": ("METHOD_CHECKS", "MethodCase", "check_method", "method_cases"),
        ".rows": ("review_task", "reviews"),
        ".scripted": ("run_scripted_search",),
        ".searchers": ("SEARCHER_CHECKS", "check_searcher"),
        ".tiny": ("tiny_backbone", "tiny_tokenizer"),
    },
)

__all__ = [
    "KIND_CHECKS",
    "METHOD_CHECKS",
    "SEARCHER_CHECKS",
    "MethodCase",
    "check_kind",
    "check_method",
    "check_searcher",
    "method_cases",
    "review_task",
    "reviews",
    "run_scripted_search",
    "tiny_backbone",
    "tiny_tokenizer",
]
