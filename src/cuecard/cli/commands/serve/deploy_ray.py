"""`cuecard deploy ray`: replicas of a server on a Ray cluster."""

from __future__ import annotations

from typing import Annotated

import typer

from cuecard.cli.fields import Asked
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace, Trust
from cuecard.cli.serving_options import SERVER, serving_packages
from cuecard.cli.sources import NamedBackbone
from cuecard.cli.views.console import Json, print_json
from cuecard.serving.on_ray.settings import RayApplication, RaySettings, config_text
from cuecard.serving.settings import (
    EngineOptions,
    ServedBackbone,
    ServerSettings,
    check_settings,
)
from cuecard.validation_text import counted


def deploy_ray(
    source: NamedBackbone,
    asked: Annotated[Asked[ServerSettings], SERVER],
    options: EngineOptions,
    ray: RaySettings,
    registry: RegistryPlace = DEFAULT_REGISTRY,
    trust: Trust = None,
    name: Annotated[str, typer.Option(help="The application's name on the cluster.")] = "cuecard",
    address: Annotated[
        str | None,
        typer.Option(
            help="The Ray cluster, HOST:PORT or auto; by default RAY_ADDRESS, or a cluster of this "
            "machine that ends with the command.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the configuration for `serve deploy`, as YAML."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Deploy replicas of `cuecard serve` on Ray Serve, behind one address.

    Every replica holds the backbone and all prompts and polls the registry; one that ends is
    replaced. Limits of API keys are counted for all replicas together.

    Example: cuecard deploy ray --registry prompts --backbone smollm2-135m-instruct --replicas 2

    Exit codes: 0 deployed, or a cluster of this machine ended by SIGTERM or Ctrl-C; 2 bad input.
    """
    settings = asked.settings()
    check_settings(settings)
    ray.check()
    served = ServedBackbone(**source.model_dump(), options=options)
    served.check()

    from cuecard.registry import read_trusted

    settings = settings.model_copy(update={"trusted": read_trusted(trust or ())})
    application = RayApplication(registry=registry, served=served, server=settings, ray=ray)
    application = application.anywhere()
    if dry_run:
        typer.echo(config_text(application, name), nl=False)
        return

    with serving_packages("ray"):
        from cuecard.serving.on_ray.deploy import deploy

    def tell(url: str, until_ended: bool) -> None:
        if as_json:
            print_json({"url": url, "replicas": ray.replicas, "name": name})
            return
        typer.echo(f"{url}  {counted(ray.replicas, 'replica')} of {name}")
        if until_ended:
            typer.echo("Press Ctrl-C to end them.")

    deploy(application, name, tell, address)
