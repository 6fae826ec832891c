"""What a Ray Serve application is built from. Imports neither Ray nor torch."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from cuecard.catalogue import BACKBONES
from cuecard.errors import ConfigError
from cuecard.serving.settings import ServedBackbone, ServerSettings

BUILDER = "cuecard.serving.on_ray.application:build"
"""Where Serve finds what builds the application."""


class RaySettings(BaseModel):
    """How an application is spread over a cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    replicas: int = Field(default=2, ge=1, description="Replicas, each with the backbone loaded.")
    max_replicas: int | None = Field(
        default=None,
        ge=1,
        description="Add replicas up to this many when more requests are open.",
    )
    cpus: float = Field(default=1.0, ge=0, description="CPUs that a replica takes.")
    gpus: float = Field(default=0.0, ge=0, description="GPUs that a replica takes.")

    @property
    def most(self) -> int:
        """Maximum replicas."""
        return self.max_replicas or self.replicas

    def check(self) -> None:
        """
        Raises:
            ConfigError: fewer replicas at most than there always are.
        """
        if self.most < self.replicas:
            raise ConfigError(
                "there are more replicas than there may be",
                where="--max-replicas",
                got=self.max_replicas,
                expected=f"{self.replicas:,} or more, as --replicas says",
            )


class RayApplication(BaseModel):
    """The application: the `args` in Serve's configuration.

    Attributes:
        registry: a folder that all nodes see, or a URL.
        server: the settings of each replica; `host` and `port` are those of Serve's proxies.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    registry: str
    served: ServedBackbone
    server: ServerSettings = ServerSettings()
    ray: RaySettings = RaySettings()

    def anywhere(self) -> RayApplication:
        """The same with absolute paths: replicas run in folders of their own."""
        served, server = self.served, self.server
        named = served.backbone in BACKBONES or not Path(served.backbone).exists()
        return self.model_copy(
            update={
                "registry": self.registry if "://" in self.registry else _absolute(self.registry),
                "served": served.model_copy(
                    update={
                        "backbone": served.backbone if named else _absolute(served.backbone),
                        "adapter": served.adapter and served.adapter.resolve(),
                    }
                ),
                "server": server.model_copy(
                    update={
                        "keys": server.keys and server.keys.resolve(),
                        "cache": server.cache and server.cache.resolve(),
                    }
                ),
            }
        )


def config_text(application: RayApplication, name: str) -> str:
    """The file that `serve deploy` takes, and KubeRay as `serveConfigV2`: YAML."""
    server = application.server
    config = {
        "http_options": {"host": server.host, "port": server.port},
        "applications": [
            {
                "name": name,
                "route_prefix": "/",
                "import_path": BUILDER,
                "args": application.model_dump(mode="json", exclude_defaults=True),
            }
        ],
    }
    return yaml.safe_dump(config, sort_keys=False)


def _absolute(path: str) -> str:
    return str(Path(path).resolve())
