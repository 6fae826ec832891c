"""`cuecard serve`: a registry's prompts on one backbone, over HTTP."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import BaseModel, Field

from cuecard.cli.fields import Asked, Fields, Flag
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace, Trust
from cuecard.cli.sources import NamedBackbone
from cuecard.cli.views.console import Json, print_json
from cuecard.engine.local.settings import LocalSettings
from cuecard.errors import ConfigError, CuecardWarning
from cuecard.serving.settings import ServerSettings, check_settings
from cuecard.validation_text import counted

if TYPE_CHECKING:
    from cuecard.catalogue import Progress
    from cuecard.engine.local.engine import LocalEngine
    from cuecard.engine.vllm.engine import VllmEngine


SERVER = Fields(
    ServerSettings,
    {
        "host": Flag(),
        "port": Flag(),
        "keys": Flag(metavar="FILE", envvar="CUECARD_KEYS"),
        "cors": Flag(metavar="ORIGIN", repeat=True),
        "system_messages": Flag(),
        "poll": Flag(metavar="SECONDS"),
        "versions": Flag("--serve"),
        "limits.max_body_bytes": Flag(),
        "limits.max_texts": Flag(),
        "limits.max_characters": Flag(),
        "limits.max_images": Flag(),
        "limits.max_image_bytes": Flag(),
        "limits.max_image_pixels": Flag(),
        "limits.max_image_frames": Flag(),
        "limits.max_new_tokens": Flag(),
        "limits.max_requests": Flag(),
        "limits.max_requests_per_key": Flag(),
        "limits.timeout": Flag(metavar="SECONDS"),
        "limits.drain": Flag(metavar="SECONDS"),
    },
    titles={"limits": "Limits"},
)


class EngineOptions(BaseModel):
    """What computes the answers, and what it may keep in memory."""

    engine: Literal["local", "vllm"] = Field(
        default="local", description="Inference engine; vllm is an extra with its own environment."
    )
    cache_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Memory for cached keys and values of prompts, or for embedded images; by "
        "default 1 GiB, with vllm on an accelerator what is free.",
    )
    prefix_caching: bool = Field(
        default=True,
        description="Cache the common prefixes of a prompt's contexts, or embedded images; the "
        "latency of an answer then reveals whether another text had the same prefix.",
    )


def serve(
    source: NamedBackbone,
    asked: Annotated[Asked[ServerSettings], SERVER],
    options: EngineOptions,
    registry: RegistryPlace = DEFAULT_REGISTRY,
    trust: Trust = None,
    beginnings: Annotated[
        bool | None,
        typer.Option("--beginnings/--no-beginnings", hidden=True, show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Serve a registry's prompts over HTTP; changes in the registry are live in seconds.

    OpenAI's protocol (/v1/completions, /v1/chat/completions, /v1/responses, /v1/embeddings,
    /v1/models), /v1/classify, /healthz, /readyz and /metrics. Models are called NAME, NAME@ALIAS or
    NAME@NUMBER.

    Example: cuecard serve --registry prompts --backbone smollm2-135m-instruct

    Exit codes: 0 ended by SIGTERM or Ctrl-C with everything answered, 2 bad input.
    """
    if beginnings is not None:
        warnings.warn(
            "--beginnings and --no-beginnings are now --prefix-caching and --no-prefix-caching; "
            "the old names work until 0.3",
            CuecardWarning,
            stacklevel=2,
        )
        options = options.model_copy(update={"prefix_caching": beginnings})
    settings = asked.settings()
    check_settings(settings)

    from cuecard.cli.views.progress import fetch_progress
    from cuecard.registry import Registry, read_trusted

    try:
        from cuecard.serving import server
    except ImportError as error:
        raise ConfigError(
            "the packages for serving are not installed",
            got=error.name,
            hint="pip install 'cuecard[serve]'",
        ) from error
    settings = settings.model_copy(update={"trusted": read_trusted(trust or ())})
    if options.engine == "vllm":
        _check_for_vllm(source)
    store = Registry(registry)
    server.check_start(settings, store)
    with fetch_progress(json=as_json) as progress:
        engine, name = _open(source, options, progress)

    def tell(listening: server.Listening) -> None:
        facts = {"url": listening.url, "prompts": listening.prompts, "backbone": name}
        if as_json:
            print_json(facts)
        else:
            typer.echo(f"{listening.url}  {counted(listening.prompts, 'prompt')} on {name}")

    asyncio.run(server.serve(engine, name, store, settings, tell))


def _open(
    source: NamedBackbone, options: EngineOptions, progress: Progress | None
) -> tuple[LocalEngine | VllmEngine, str]:
    """The engine with the backbone loaded, and the backbone's name."""
    from cuecard.engine.local.engine import LocalEngine
    from cuecard.engine.vllm.engine import VllmEngine
    from cuecard.engine.vllm.library import VllmOptions

    kept = options.model_dump(include={"cache_bytes", "prefix_caching"}, exclude_none=True)
    if options.engine == "vllm":
        vllm = VllmEngine.open(
            source.backbone,
            dtype=source.dtype,
            quantize=source.quantize,
            options=VllmOptions(**kept),
            progress=progress,
        )
        return vllm, vllm.known.name
    model = source.load(progress)
    return LocalEngine(model, LocalSettings(**kept)), model.name


def _check_for_vllm(source: NamedBackbone) -> None:
    if source.adapter is not None:
        raise ConfigError(
            "vLLM loads the backbone's own files and cannot merge an adapter into them",
            where="--adapter",
            got=str(source.adapter),
            expected="--engine local",
        )
    if source.device != "auto":
        raise ConfigError(
            "vLLM chooses the device itself",
            where="--device",
            got=source.device,
            expected="auto",
            hint="CUDA_VISIBLE_DEVICES selects the accelerators it may use",
        )
