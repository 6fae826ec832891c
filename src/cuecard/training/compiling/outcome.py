"""What a compilation leads to."""

from __future__ import annotations

from dataclasses import dataclass

from cuecard.artifacts import Prompt
from cuecard.evaluation.evaluate import Evaluation
from cuecard.tasks import Task
from cuecard.training.compiling.full_text import FullText
from cuecard.training.distilling.fidelity import Fidelity
from cuecard.training.run import Run


@dataclass(frozen=True, slots=True)
class Compared:
    """One way to stand for the text.

    Attributes:
        name: what tables call it.
        length: positions.
        fidelity: on the held-out inputs.
        score: on the labelled rows; None where there are none.
    """

    name: str
    length: int
    fidelity: Fidelity
    score: Evaluation | None


@dataclass(frozen=True)
class CompiledLength:
    """A text compiled into so many positions.

    Attributes:
        run: the training.
        agreement: with the full text on validation inputs, by which lengths are chosen.
        rows: the prompt, what it started from, and the text made as short in other ways.
    """

    run: Run
    agreement: float
    rows: tuple[Compared, ...]

    @property
    def length(self) -> int:
        """Positions."""
        return self.run.prompt.injection().length


@dataclass(frozen=True)
class CompileRun:
    """What came of it.

    Attributes:
        text: the text.
        task: the inputs with the full text's answers.
        left_out: inputs that the full text answers with nothing, and copies.
        full: the full text itself, and nothing in its place.
        lengths: in ascending order.
        kept: the one whose prompt is kept.
        passed: whether that one is within the tolerance; None without one.
        prompt: the prompt that is kept.
        evaluated: how many labelled rows were scored.
    """

    text: FullText
    task: Task
    left_out: int
    full: tuple[Compared, ...]
    lengths: tuple[CompiledLength, ...]
    kept: CompiledLength
    passed: bool | None
    prompt: Prompt
    evaluated: int
