"""The zero-shot classifier of a model of images and texts: labels' names in a template, no prompt.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (ICML 2021),
section 3.1: an image's label is the one whose text is the most like it.
"""

from __future__ import annotations

from cuecard.errors import ConfigError
from cuecard.lazy import torch
from cuecard.tasks.kinds.image_classification import label_template
from cuecard.tasks.spec import TaskSpec
from cuecard.types import Backbone, HasLabelTower, Head, Injection, LabelTokens, Towers


def zero_shot(backbone: Backbone, spec: TaskSpec) -> tuple[Injection, Head]:
    """No vectors, and the head that a tower makes of the labels' names in the task's template.

    Raises:
        ConfigError: a backbone that reads no names.
        BackboneError: a name that is too long.
    """
    if not isinstance(backbone, HasLabelTower):
        raise ConfigError(
            "this backbone does not read labels' names",
            where=f"backbone {backbone.name}",
            got=f"a model with a {' and a '.join(backbone.takes)} tower",
            expected="a model of images and texts, such as CLIP",
        )
    with torch.no_grad():
        head = backbone.label_head([*spec.label_names.values()], label_template(spec))
    return unprompted(), head


def unprompted() -> Towers:
    """No vectors: images are read as the unit vectors that the model makes of them."""
    return Towers({"labels": LabelTokens(torch.zeros(1, 1, 0, 1))})
