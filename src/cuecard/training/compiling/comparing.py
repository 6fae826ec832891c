"""How nearly a compiled prompt answers as the text, beside cheaper ways to shorten it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cuecard.evaluation.evaluate import Evaluation, evaluate
from cuecard.training.compiling.full_text import FullText
from cuecard.training.compiling.outcome import Compared, CompiledLength
from cuecard.training.compiling.prompts import CompiledSettings
from cuecard.training.compiling.shorter import made_shorter
from cuecard.training.compiling.starts import injection_of_start
from cuecard.training.distilling.fidelity import AnsweredInputs
from cuecard.training.run import Run
from cuecard.types import Injection, Record


@dataclass(frozen=True)
class TextComparison:
    """Compare what stands for a text with the text.

    Args:
        text: the text.
        validation: the inputs that lengths are chosen on.
        test: the inputs that are held out.
        labelled: rows with targets of their own; none by default.
        seed: of the intervals.
    """

    text: FullText
    validation: AnsweredInputs
    test: AnsweredInputs
    labelled: Sequence[Record]
    seed: int

    def compiled(self, start: CompiledSettings, run: Run, summary: Sequence[int]) -> CompiledLength:
        """A prompt beside what it started from and beside the text cut to as many tokens.

        Args:
            summary: the tokens of the model's own summary of the text.
        """
        text, injection = self.text, run.prompt.injection()
        length = injection.length
        agreement = self.validation.agreement(injection)
        answers = None if run.test is None else run.test.predictions
        ways: dict[str, Injection] = {}
        if start.start == "matched":  # else it is the text's first tokens
            ways["its start, untrained"] = injection_of_start(start, text)
        ways |= made_shorter(text, length, summary)
        own = self.test.fidelity(injection, answers)
        rows = [Compared("compiled", length, own, self._scored(injection))]
        for name, way in ways.items():
            found = self.test.fidelity(way)
            rows.append(Compared(name, way.length, found, self._scored(way)))
        return CompiledLength(run, agreement, tuple(rows))

    def ends(self) -> tuple[Compared, Compared]:
        """The whole text, and none of it."""
        text = self.text
        full = self.test.fidelity(text.injection, self.test.wanted)
        none = self.test.fidelity(None)
        return (
            Compared("full text", text.length, full, self._scored(text.injection)),
            Compared("no text", 0, none, self._scored(None)),
        )

    def _scored(self, injection: Injection | None) -> Evaluation | None:
        """On the labelled rows, if there are some."""
        if not self.labelled:
            return None
        text = self.text
        return evaluate(
            text.backbone, text.spec, self.labelled, injection, slot=text.slot, seed=self.seed
        )
