"""Any number of several labels of an image."""

from __future__ import annotations

from cuecard.tasks.kinds.images import ImageKind
from cuecard.tasks.kinds.multi_label import MultiLabelKind, MultiLabelSettings


class ImageMultiLabelKind(ImageKind[MultiLabelSettings], MultiLabelKind):
    """Any number of several labels of an image."""

    name = "image-multi-label"
    about = "any number of several labels of an image"


IMAGE_MULTI_LABEL = ImageMultiLabelKind()
