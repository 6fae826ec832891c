"""What is learnt: records, templates, labels and splits. Knows nothing of models."""

from typing import TYPE_CHECKING

from cuecard.lazy import lazy_exports

if TYPE_CHECKING:
    from cuecard.tasks.encoding.batching import batches_by_length, collate, ordered_batches
    from cuecard.tasks.kinds import KINDS, register_kind
    from cuecard.tasks.kinds.base import TaskKind
    from cuecard.tasks.readers.records import read_records, read_splits
    from cuecard.tasks.splits import (
        SplitReport,
        Splits,
        content_hash,
        draw_rows,
        remove_duplicates,
        split_records,
    )
    from cuecard.tasks.task import SpecOptions, Task, TaskSpec
    from cuecard.tasks.template import Template, escape
    from cuecard.tasks.verbalizer import Verbalizer

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".encoding.batching": ("batches_by_length", "collate", "ordered_batches"),
        ".kinds": ("KINDS", "register_kind"),
        ".kinds.base": ("TaskKind",),
        ".readers.records": ("read_records", "read_splits"),
        ".splits": (
            "SplitReport",
            "Splits",
            "content_hash",
            "draw_rows",
            "remove_duplicates",
            "split_records",
        ),
        ".task": ("SpecOptions", "Task", "TaskSpec"),
        ".template": ("Template", "escape"),
        ".verbalizer": ("Verbalizer",),
    },
)

__all__ = [
    "KINDS",
    "SpecOptions",
    "SplitReport",
    "Splits",
    "Task",
    "TaskKind",
    "TaskSpec",
    "Template",
    "Verbalizer",
    "batches_by_length",
    "collate",
    "content_hash",
    "draw_rows",
    "escape",
    "ordered_batches",
    "read_records",
    "read_splits",
    "register_kind",
    "remove_duplicates",
    "split_records",
]
