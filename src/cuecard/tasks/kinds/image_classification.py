"""One of several labels of an image."""

from __future__ import annotations

from pydantic import Field

from cuecard.tasks.kinds.classification import ClassificationKind
from cuecard.tasks.kinds.images import ImageKind
from cuecard.tasks.settings import NoSettings, TaskSettings, contradiction
from cuecard.types import LABEL, ZERO_SHOT


class ImageClassificationSettings(NoSettings):
    """What a classification of images says besides."""

    label_template: str = Field(
        default=ZERO_SHOT,
        exclude_if=lambda template: template == ZERO_SHOT,
        description="What a label's name stands in for the zero-shot classifier of a model of "
        "images and texts.",
    )


class ImageClassificationKind(ImageKind[NoSettings], ClassificationKind):
    """One of several labels of an image."""

    settings = ImageClassificationSettings

    name = "image-classification"
    about = "one of several labels of an image"

    def check(self, spec: TaskSettings) -> None:
        """A label's name has one place in its template, too."""
        super().check(spec)
        template = label_template(spec)
        if template.count(LABEL) != 1:
            raise contradiction(
                "no single place for a label's name",
                "label_template",
                repr(template),
                f"{LABEL} once, such as {ZERO_SHOT!r}",
            )


def label_template(spec: TaskSettings) -> str:
    """What a label's name is put into for the zero-shot classifier."""
    return str(spec.own.get("label_template", ZERO_SHOT))


IMAGE_CLASSIFICATION = ImageClassificationKind()
