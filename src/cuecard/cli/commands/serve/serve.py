"""`cuecard serve`: a registry's prompts on one backbone, over HTTP."""

from __future__ import annotations

import asyncio
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import BaseModel

from cuecard.backbones.quantization.forms import Quantize
from cuecard.cli.options import AdapterFolder, Device, Dtype
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace
from cuecard.cli.views.console import Json, print_json
from cuecard.engine.local.settings import LocalSettings
from cuecard.errors import ConfigError, CuecardWarning
from cuecard.serving.settings import Limits, ServerSettings, SystemMessages, check_settings

if TYPE_CHECKING:
    from cuecard.engine.local.engine import LocalEngine
    from cuecard.engine.vllm.engine import VllmEngine


def _help(settings: type[BaseModel], name: str) -> str:
    """A setting's description, up to its first sentence's end."""
    text = settings.model_fields[name].description or ""
    return text.partition(". ")[0].removesuffix(".") + "."


_SERVER = ServerSettings()
_LIMITS = Limits()
_LOCAL = LocalSettings()


def serve(
    backbone: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The model all prompts run on: a catalogue name, a local folder or a hub id.",
            show_default=False,
        ),
    ],
    registry: RegistryPlace = DEFAULT_REGISTRY,
    engine: Annotated[
        Literal["local", "vllm"],
        typer.Option(help="Inference engine; vllm is an extra with its own environment."),
    ] = "local",
    host: Annotated[str, typer.Option(help=_help(ServerSettings, "host"))] = _SERVER.host,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help=_help(ServerSettings, "port"))
    ] = _SERVER.port,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="CUECARD_KEYS",
            help=_help(ServerSettings, "keys"),
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Public Ed25519 key (PEM). Only versions signed by one of these keys are served; "
            "may be repeated.",
            show_default=False,
        ),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help=f"{_help(ServerSettings, 'cors')} May be repeated.  [none]",
            show_default=False,
        ),
    ] = None,
    system_messages: Annotated[
        SystemMessages, typer.Option(help=_help(ServerSettings, "system_messages"))
    ] = _SERVER.system_messages,
    poll: Annotated[
        float,
        typer.Option(min=0.1, metavar="SECONDS", help=_help(ServerSettings, "poll")),
    ] = _SERVER.poll,
    max_body_bytes: Annotated[
        int, typer.Option(min=1, help=_help(Limits, "max_body_bytes"))
    ] = _LIMITS.max_body_bytes,
    max_texts: Annotated[
        int, typer.Option(min=1, help=_help(Limits, "max_texts"))
    ] = _LIMITS.max_texts,
    max_characters: Annotated[
        int, typer.Option(min=1, help=_help(Limits, "max_characters"))
    ] = _LIMITS.max_characters,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help=_help(Limits, "max_new_tokens"))
    ] = _LIMITS.max_new_tokens,
    max_requests: Annotated[
        int, typer.Option(min=1, help=_help(Limits, "max_requests"))
    ] = _LIMITS.max_requests,
    max_requests_per_key: Annotated[
        int, typer.Option(min=1, help=_help(Limits, "max_requests_per_key"))
    ] = _LIMITS.max_requests_per_key,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help=_help(Limits, "timeout"))
    ] = _LIMITS.timeout,
    drain: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help=_help(Limits, "drain"))
    ] = _LIMITS.drain,
    cache_bytes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Memory for cached keys and values of prompts.  [1 GiB; with vllm on an "
            "accelerator what is free]",
            show_default=False,
        ),
    ] = None,
    prefix_caching: Annotated[
        bool,
        typer.Option(
            "--prefix-caching/--no-prefix-caching",
            help="Cache the common prefixes of a prompt's contexts. The latency of an answer then "
            "reveals whether another text had the same prefix.",
        ),
    ] = _LOCAL.prefix_caching,
    beginnings: Annotated[
        bool | None,
        typer.Option("--beginnings/--no-beginnings", hidden=True, show_default=False),
    ] = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantize: Annotated[
        Quantize, typer.Option("--quantize", help="How to hold the backbone's weights.")
    ] = "none",
    adapter: AdapterFolder = None,
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
        prefix_caching = beginnings
    limits = Limits(
        max_body_bytes=max_body_bytes,
        max_texts=max_texts,
        max_characters=max_characters,
        max_new_tokens=max_new_tokens,
        max_requests=max_requests,
        max_requests_per_key=max_requests_per_key,
        timeout=timeout,
        drain=drain,
    )
    settings = ServerSettings(
        host=host,
        port=port,
        keys=keys,
        limits=limits,
        poll=poll,
        cors=tuple(cors or ()),
        system_messages=system_messages,
    )
    check_settings(settings)

    from cuecard.cli.views.progress import fetch_progress
    from cuecard.engine.local.engine import LocalEngine
    from cuecard.engine.vllm.engine import VllmEngine
    from cuecard.engine.vllm.library import VllmOptions
    from cuecard.names import load_backbone
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
    if engine == "vllm":
        _check_for_vllm(device, adapter)
    store = Registry(registry)
    server.check_start(settings, store)
    with fetch_progress(json=as_json) as progress:
        running: LocalEngine | VllmEngine
        if engine == "vllm":
            options = VllmOptions(cache_bytes=cache_bytes, prefix_caching=prefix_caching)
            running = VllmEngine.open(
                backbone, dtype=dtype, quantize=quantize, options=options, progress=progress
            )
            name = running.known.name
        else:
            model = load_backbone(
                backbone,
                dtype=dtype,
                device=device,
                quantize=quantize,
                adapter=adapter,
                progress=progress,
            )
            sizes = LocalSettings(
                cache_bytes=cache_bytes or _LOCAL.cache_bytes, prefix_caching=prefix_caching
            )
            running, name = LocalEngine(model, sizes), model.name

    def tell(listening: server.Listening) -> None:
        facts = {"url": listening.url, "prompts": listening.prompts, "backbone": name}
        if as_json:
            print_json(facts)
        else:
            typer.echo(f"{listening.url}  {listening.prompts} prompts on {name}")

    asyncio.run(server.serve(running, name, store, settings, tell))


def _check_for_vllm(device: str, adapter: Path | None) -> None:
    if adapter is not None:
        raise ConfigError(
            "vLLM loads the backbone's own files and cannot merge an adapter into them",
            where="--adapter",
            got=str(adapter),
            expected="--engine local",
        )
    if device != "auto":
        raise ConfigError(
            "vLLM chooses the device itself",
            where="--device",
            got=device,
            expected="auto",
            hint="CUDA_VISIBLE_DEVICES selects the accelerators it may use",
        )
