"""A saved prompt asked as it was made to be asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cuecard.artifacts import Prompt, check_backbone
from cuecard.evaluation.predict import predict
from cuecard.types import Backbone, Prediction, Record


def answer(
    backbone: Backbone, prompt: Prompt, records: Sequence[Record], **options: Any
) -> list[Prediction]:
    """Answers under a prompt: in its template and slot, with its calibration.

    Args:
        options: as for `predict`, such as `batch_rows`.

    Raises:
        WrongBackboneError: the prompt was made for another backbone.
        TemplateError: a record without a field that the template needs.
    """
    manifest = prompt.manifest
    check_backbone(manifest, backbone)
    given = {"slot": manifest.slot, "prior": manifest.prior, "head": prompt.head()} | options
    return predict(backbone, prompt.spec, records, prompt.injection(), **given)
