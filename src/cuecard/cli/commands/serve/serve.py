"""`cuecard serve`: a registry's prompts on one backbone, over HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cuecard.backbones.quantization.forms import Quantize
from cuecard.cli.options import AdapterFolder, Device, Dtype
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace
from cuecard.cli.views.console import Json, print_json
from cuecard.engine.local.settings import LocalSettings
from cuecard.errors import ConfigError
from cuecard.serving.http.limits import Limits
from cuecard.serving.settings import Settings, SystemMessages, check_settings

if TYPE_CHECKING:
    from cuecard.engine.local.engine import LocalEngine
    from cuecard.engine.vllm.engine import VllmEngine

_LIMITS = Limits()
_SIZES = LocalSettings()


def serve(
    backbone: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The model that all prompts run on: a catalogue name, a local folder or a hub id.",
            show_default=False,
        ),
    ],
    registry: RegistryPlace = DEFAULT_REGISTRY,
    engine: Annotated[
        Literal["local", "vllm"],
        typer.Option(help="What computes the answers; vllm is an extra of its own environment."),
    ] = "local",
    host: Annotated[
        str, typer.Option(help="Where to listen; other addresses than loopback need --keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="CUECARD_KEYS",
            help="Ask for the API keys in this file (`cuecard keys add`).",
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Serve only versions that this public Ed25519 key (PEM) has signed; may be "
            "repeated: one of them.",
            show_default=False,
        ),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Allow web pages of this origin, such as https://app.example.com, to call the "
            "server from a browser; repeatable; '*' for any.  [none]",
            show_default=False,
        ),
    ] = None,
    system_messages: Annotated[
        SystemMessages,
        typer.Option(
            help="System messages of a chat with a prompt, whose template has no place for them: "
            "refuse, ignore, or prepend them to the user's message.",
        ),
    ] = "refuse",
    poll: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Between looks at the registry.")
    ] = 2.0,
    max_body_bytes: Annotated[
        int, typer.Option(min=1, help="Of one request.")
    ] = _LIMITS.body_bytes,
    max_texts: Annotated[
        int, typer.Option(min=1, help="Inputs of one request, times the prompts it names.")
    ] = _LIMITS.texts,
    max_characters: Annotated[int, typer.Option(min=1, help="Of one input.")] = _LIMITS.characters,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of one answer.")] = _LIMITS.new_tokens,
    max_requests: Annotated[
        int, typer.Option(min=1, help="Maximum concurrent requests (503 above).")
    ] = _LIMITS.requests,
    max_requests_per_key: Annotated[
        int,
        typer.Option(
            min=1, help="Maximum open requests of one API key, arriving ones included (429 above)."
        ),
    ] = _LIMITS.requests_per_key,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="For one answer.")
    ] = _LIMITS.seconds,
    drain: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="For what is at work when SIGTERM comes."),
    ] = _LIMITS.drain_seconds,
    cache_bytes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="For keys and values of prompts; 1 GiB unless given, what is free with vllm on "
            "an accelerator.",
            show_default=False,
        ),
    ] = None,
    beginnings: Annotated[
        bool,
        typer.Option(
            "--beginnings/--no-beginnings",
            help="Keep what contexts of one prompt begin with. How long an answer takes then tells "
            "whether others' texts began so.",
        ),
    ] = _SIZES.beginnings,
    dtype: Dtype = "auto",
    device: Device = "auto",
    quantize: Annotated[
        Quantize, typer.Option("--quantize", help="How the backbone's weights are held.")
    ] = "none",
    adapter: AdapterFolder = None,
    as_json: Json = False,
) -> None:
    """Answer over HTTP with all prompts of a registry; what changes there is served in seconds.

    OpenAI's protocol (/v1/completions, /v1/chat/completions, /v1/embeddings, /v1/models),
    /v1/classify, /healthz, /readyz and /metrics. A model is called NAME, NAME@ALIAS or NAME@NUMBER.

    Example: cuecard serve --registry prompts --backbone smollm2-135m-instruct

    Exit codes: 0 ended by SIGTERM or Ctrl-C with everything answered, 2 bad input.
    """
    limits = Limits(
        body_bytes=max_body_bytes,
        texts=max_texts,
        characters=max_characters,
        new_tokens=max_new_tokens,
        requests=max_requests,
        requests_per_key=max_requests_per_key,
        seconds=timeout,
        drain_seconds=drain,
    )
    settings = Settings(
        host=host,
        port=port,
        keys=keys,
        limits=limits,
        poll_seconds=poll,
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
            "the server's packages are not installed",
            got=error.name,
            hint="pip install 'cuecard[serve]'",
        ) from error
    settings = replace(settings, trusted=read_trusted(trust or ()))
    if engine == "vllm":
        _check_for_vllm(device, adapter)
    store = Registry(registry)
    server.check_start(settings, store)
    with fetch_progress(json=as_json) as progress:
        running: LocalEngine | VllmEngine
        if engine == "vllm":
            options = VllmOptions(cache_bytes=cache_bytes, beginnings=beginnings)
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
                cache_bytes=cache_bytes or _SIZES.cache_bytes, beginnings=beginnings
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
            "vLLM loads the backbone's own files, without an adapter merged into them",
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
            hint="CUDA_VISIBLE_DEVICES says which accelerators it may see",
        )
