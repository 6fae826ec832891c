"""What was measured elsewhere, and what it lets expect of a task before anything is trained."""

from __future__ import annotations

from cuecard.evaluation.measured.advise import Recommendation, advise, advise_few_rows
from cuecard.evaluation.measured.measurements import Measurement, measurements

__all__ = ["Measurement", "Recommendation", "advise", "advise_few_rows", "measurements"]
