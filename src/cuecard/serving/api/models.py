"""`/v1/models`: what can be asked for."""

from __future__ import annotations

from cuecard.serving.http.auth import Key
from cuecard.serving.models.catalog import Served, Shelf
from cuecard.serving.protocol.answers import ModelCard, ModelList


def model_list(shelf: Shelf, key: Key | None) -> ModelList:
    """Every name, alias and version that a key may use, and the backbone."""
    ids = [shelf.backbone]
    for name, shown in sorted(shelf.shown.items()):
        if not shown.every:
            continue
        if name != shelf.backbone:  # the name alone is the backbone's
            ids.append(name)
        ids += [f"{name}@{alias}" for alias in sorted(shown.aliases)]
        ids += [f"{name}@{number}" for number in sorted(shown.versions)]
    bare, *prompts = ids
    allowed = [model for model in prompts if key is None or key.allows(model)]
    if key is None or key.allows_raw:
        allowed.insert(0, bare)
    return ModelList(object="list", data=[model_card(shelf, model) for model in allowed])


def model_card(shelf: Shelf, model: str) -> ModelCard:
    """What a model's name means now.

    Raises:
        Refusal: nothing.
    """
    served = shelf.find(model)
    return _bare(shelf) if served is None else _card(shelf, model, served)


def _bare(shelf: Shelf) -> ModelCard:
    return ModelCard(
        id=shelf.backbone,
        object="model",
        created=0,
        owned_by="cuecard",
        root=shelf.backbone,
        parent=None,
    )


def _card(shelf: Shelf, model: str, served: Served) -> ModelCard:
    return ModelCard(
        id=model,
        object="model",
        created=served.created,
        owned_by="cuecard",
        root=str(served),
        parent=shelf.backbone,
        digest=served.held.digest,
        kind=served.spec.kind,
        labels=list(served.spec.labels),
        fields=list(served.spec.field_names),
    )
