"""Load a backbone into the engine that serves it."""

from __future__ import annotations

from cuecard.catalogue import Progress
from cuecard.engine.local.engine import LocalEngine
from cuecard.engine.local.settings import LocalSettings
from cuecard.engine.vllm.engine import VllmEngine
from cuecard.engine.vllm.library import VllmOptions
from cuecard.names import load_backbone
from cuecard.serving.settings import ServedBackbone


def open_engine(
    served: ServedBackbone, progress: Progress | None = None
) -> tuple[LocalEngine | VllmEngine, str]:
    """The engine with the backbone loaded, not yet started, and the backbone's name.

    Raises:
        BackboneError: it cannot be loaded.
    """
    kept = served.options.model_dump(include={"cache_bytes", "prefix_caching"}, exclude_none=True)
    if served.options.engine == "vllm":
        vllm = VllmEngine.open(
            served.backbone,
            dtype=served.dtype,
            quantize=served.quantize,
            options=VllmOptions(**kept),
            progress=progress,
        )
        return vllm, vllm.known.name
    model = load_backbone(
        served.backbone,
        dtype=served.dtype,
        device=served.device,
        quantize=served.quantize,
        adapter=served.adapter,
        progress=progress,
    )
    return LocalEngine(model, LocalSettings(**kept)), model.name
