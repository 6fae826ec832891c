"""A text compiled for a model, at several lengths, beside cheaper ways to shorten it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.compile.plan import Load, Plan
from benchmarks.compile.served import served
from benchmarks.compile.texts import LongText
from benchmarks.machine import timed
from benchmarks.workers import KeptCell
from cuecard.artifacts import Prompt
from cuecard.evaluation.evaluate import evaluate
from cuecard.metrics.intervals import mean_interval, paired_interval
from cuecard.training.compiling.compiler import TextCompiler
from cuecard.training.compiling.full_text import FullText
from cuecard.training.compiling.outcome import Compared, CompileRun
from cuecard.training.compiling.settings import CompileConfig
from cuecard.training.objective.loss import batch_loss
from cuecard.training.objective.top_tokens import top_tokens
from cuecard.training.storage.log import Observer
from cuecard.types import Encoded, Record

_TOP = 20
_REQUESTS = 16  # to a server
_ANSWER = 8  # tokens of the answer by which steps are timed


@dataclass(frozen=True)
class CompiledCell:
    """A model and a text: all lengths, beside the full text and the ways to shorten it."""

    plan: Plan
    backbone: str
    text: str

    def file(self, folder: Path) -> Path:
        """Where its result goes."""
        return self.plan.place(folder, "compiled", Path(self.backbone).name, self.text)

    @property
    def needs(self) -> tuple[KeptCell, ...]:
        """Nothing."""
        return ()

    def run(self, load: Load, folder: Path, tell: Observer) -> dict[str, Any]:
        """Compile, and compare; goes on from its checkpoints."""
        backbone, given = load(self.backbone), self.plan.text(self.text)
        text = FullText.of(backbone, given.spec, given.content)
        tests = _known(text, given, self.plan.sizes.tests) if given.known_alone else given.tests
        lengths = tuple(length for length in self.plan.into if length <= text.length)
        compiler = TextCompiler(
            text,
            given.inputs,
            CompileConfig(into=lengths, top=_TOP),
            self.plan.config,
            labelled=tests,
            folder=self.file(folder).with_suffix(""),
            observer=tell,
        )
        run = compiler.run()
        full, none = run.full
        rows = [full, *(row for each in run.lengths for row in each.rows), none]
        return {
            "text": self.text,
            "text_tokens": text.length,
            "position_bytes": text.position_bytes,
            "inputs": len(given.inputs),
            "held_out": len(run.task.test),
            "tests": len(tests),
            "asked": len(given.tests),
            "rows": [_row(row, full, given) for row in rows],
            "cpu_s": {str(each.length): each.run.cpu_seconds for each in run.lengths},
            "times": _times(text, given.inputs, run.kept.run.prompt, self.plan.batch),
            "served": _served(text, given, run),
        }


def _served(text: FullText, given: LongText, run: CompileRun) -> dict[str, dict[str, float]]:
    """What a server takes for requests with each prompt and with the text."""
    rows = [
        text.spec.encode(replace(record, target=None), text.backbone.tokenizer, text.slot)
        for record in given.inputs[:_REQUESTS]
    ]
    prompts = {f"compiled, {each.length}": each.run.prompt.injection() for each in run.lengths}
    return served(text, prompts, rows)


def _known(text: FullText, given: LongText, most: int) -> tuple[Record, ...]:
    """The tests that the full text answers right, so many at most."""
    found = evaluate(text.backbone, text.spec, given.tests, text.injection, slot=text.slot)
    pairs = zip(given.tests, given.right(found), strict=True)
    return tuple(record for record, right in pairs if right)[:most]


def _row(row: Compared, full: Compared, given: LongText) -> dict[str, Any]:
    """A way to stand for the text, its score beside the full text's."""
    told = row.fidelity
    found: dict[str, Any] = {
        "way": row.name,
        "length": row.length,
        "same": told.same,
        "agreement": told.agreement,
        "agreement_ci95": told.agreement_ci95,
        "kl": told.kl,
    }
    if row.score is None or full.score is None:
        return found
    own, whole = given.right(row.score), given.right(full.score)
    return found | {
        "score": sum(own) / len(own),
        "score_ci95": mean_interval(own),
        "minus_full": sum(own) / len(own) - sum(whole) / len(whole),
        "minus_full_ci95": paired_interval(own, whole),
    }


def _times(
    text: FullText, inputs: Sequence[Record], prompt: Prompt, batch: int
) -> dict[str, float]:
    """CPU-seconds of a step on kept answers, and of one that runs the text each time as well."""
    backbone, injection = text.backbone, prompt.injection()
    rows = [
        replace(text.spec.encode(record, backbone.tokenizer, text.slot), target=text.ids[:_ANSWER])
        for record in inputs[:batch]
    ]
    whole = [
        Encoded((*row.context[: row.slot], *text.ids, *row.context[row.slot :]), row.target)
        for row in rows
    ]
    for piece in _tensors(injection):
        piece.requires_grad_(True)

    def learn() -> None:
        loss, _ = batch_loss(backbone, text.spec, rows, injection, "tokens")
        loss.backward()  # type: ignore[no-untyped-call]

    def teach() -> None:
        for row in whole:
            top_tokens(backbone, [row], None, _TOP)

    step, teacher = (min(timed(work)[0] for _ in range(2)) for work in (learn, teach))
    return {"step_cpu_s": step, "rerun_cpu_s": step + teacher}


def _tensors(injection: Any) -> list[Any]:
    return [injection.keys_values if hasattr(injection, "keys_values") else injection.vectors]
