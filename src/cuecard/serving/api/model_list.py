"""`/v1/models`: the models served."""

from __future__ import annotations

from cuecard.serving.http.auth import APIKey
from cuecard.serving.models.catalog import PromptCatalog, ServedPrompt
from cuecard.serving.protocol.responses import ModelCard, ModelList


def model_list(catalog: PromptCatalog, key: APIKey | None) -> ModelList:
    """The backbone, and every name, alias and version that a key may use."""
    ids = [catalog.backbone]
    for name, entry in sorted(catalog.entries.items()):
        if not entry.prompts:
            continue
        if name != catalog.backbone:  # the bare name is the backbone's
            ids.append(name)
        ids += [f"{name}@{alias}" for alias in sorted(entry.aliases)]
        ids += [f"{name}@{number}" for number in sorted(entry.versions)]
    bare, *prompts = ids
    allowed = [model for model in prompts if key is None or key.allows(model)]
    if key is None or key.allows_raw:
        allowed.insert(0, bare)
    return ModelList(object="list", data=[model_card(catalog, model) for model in allowed])


def model_card(catalog: PromptCatalog, model: str) -> ModelCard:
    """The card of a model name.

    Raises:
        ModelNotFoundError, ModelNotReadyError: no such model, or it cannot answer.
    """
    served = catalog.resolve(model)
    return _bare(catalog) if served is None else _card(catalog, model, served)


def _bare(catalog: PromptCatalog) -> ModelCard:
    return ModelCard(
        id=catalog.backbone,
        object="model",
        created=0,
        owned_by="cuecard",
        root=catalog.backbone,
        parent=None,
    )


def _card(catalog: PromptCatalog, model: str, served: ServedPrompt) -> ModelCard:
    return ModelCard(
        id=model,
        object="model",
        created=served.created,
        owned_by="cuecard",
        root=str(served),
        parent=catalog.backbone,
        digest=served.held.digest,
        kind=served.spec.kind,
        labels=list(served.spec.labels),
        fields=list(served.spec.field_names),
    )
