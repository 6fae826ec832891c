"""One of several labels of an image."""

from __future__ import annotations

from cuecard.tasks.kinds.classification import ClassificationKind
from cuecard.tasks.kinds.images import ImageKind
from cuecard.tasks.settings import NoSettings


class ImageClassificationKind(ImageKind[NoSettings], ClassificationKind):
    """One of several labels of an image."""

    name = "image-classification"
    about = "one of several labels of an image"


IMAGE_CLASSIFICATION = ImageClassificationKind()
