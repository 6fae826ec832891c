"""`cuecard serve`: a registry's prompts on one backbone, over HTTP."""

from __future__ import annotations

import asyncio
import warnings
from typing import Annotated

import typer

from cuecard.cli.fields import Asked
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace, Trust
from cuecard.cli.serving_options import SERVER, serving_packages
from cuecard.cli.sources import NamedBackbone
from cuecard.cli.views.console import Json, print_json
from cuecard.errors import CuecardWarning
from cuecard.serving.settings import (
    EngineOptions,
    ServedBackbone,
    ServerSettings,
    check_settings,
)
from cuecard.validation_text import counted


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

    with serving_packages("serve"):
        from cuecard.serving import engines, server
    settings = settings.model_copy(update={"trusted": read_trusted(trust or ())})
    served = ServedBackbone(**source.model_dump(), options=options)
    served.check()
    store = Registry(registry)
    server.check_start(settings, store)
    with fetch_progress(json=as_json) as progress:
        engine, name = engines.open_engine(served, progress)

    def tell(listening: server.Listening) -> None:
        facts = {"url": listening.url, "prompts": listening.prompts, "backbone": name}
        if as_json:
            print_json(facts)
        else:
            typer.echo(f"{listening.url}  {counted(listening.prompts, 'prompt')} on {name}")

    asyncio.run(server.serve(engine, name, store, settings, tell))
