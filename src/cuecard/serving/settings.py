"""The server's settings. Imports little, so that mistakes are reported at once."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cuecard.backbones.quantization.forms import Precision, Quantize
from cuecard.errors import ConfigError
from cuecard.images import MAX_PIXELS, ImageLimits

SystemMessages = Literal["refuse", "ignore", "prepend"]
"""How to treat a chat's system messages under a prompt, whose template has no place for them."""
ServedVersions = Literal["all", "aliases"]
"""Which of a registry's versions are served."""
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/?#@*\s]+")


_IMAGES_BODY = 32 << 20
"""The maximum size of a request body where images come in it: a few photos."""


class Limits(BaseModel):
    """What a server accepts, and how long it waits; times are in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_body_bytes: int = Field(
        default=1 << 20,
        ge=1,
        description="Maximum size of a request body; of images, by default 32 MiB.",
    )
    max_texts: int = Field(
        default=256, ge=1, description="Maximum inputs of a request, times the models it names."
    )
    max_characters: int = Field(default=1 << 17, ge=1, description="Maximum length of an input.")
    max_images: int = Field(default=32, ge=1, description="Maximum images of a request.")
    max_image_bytes: int = Field(
        default=10 << 20, ge=1, description="Maximum size of an image's file."
    )
    max_image_pixels: int = Field(
        default=MAX_PIXELS, ge=1, description="Maximum pixels of an image: width times height."
    )
    max_image_frames: int = Field(
        default=256,
        ge=1,
        description="Maximum frames of an animation, of which the first is classified.",
    )
    max_new_tokens: int = Field(default=2048, ge=1, description="Maximum new tokens of an answer.")
    max_requests: int = Field(
        default=256,
        ge=1,
        description="Maximum concurrent requests (503 above). They count once their bodies have "
        "arrived, and are rejected, not queued.",
    )
    max_requests_per_key: int = Field(
        default=128,
        ge=1,
        description="Maximum open requests of one API key, arriving ones included (429 above).",
    )
    header_timeout: float = Field(
        default=10.0, gt=0, description="Timeout for a request's headers."
    )
    body_timeout: float = Field(default=30.0, gt=0, description="Timeout for a request's body.")
    timeout: float = Field(default=120.0, gt=0, description="Timeout for an answer.")
    drain: float = Field(default=60.0, ge=0, description="Timeout for open requests at shutdown.")

    @property
    def image(self) -> ImageLimits:
        """What an image may have at most."""
        return ImageLimits(self.max_image_bytes, self.max_image_pixels, self.max_image_frames)

    def on(self, *, images: bool) -> Limits:
        """The limits of a server: bodies of images are larger, unless their size was given.

        Args:
            images: whether its backbone sees images.
        """
        if not images or "max_body_bytes" in self.model_fields_set:
            return self
        return self.model_copy(update={"max_body_bytes": _IMAGES_BODY})


class ServerSettings(BaseModel):
    """The settings of a server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(
        default="127.0.0.1", description="Address to listen on; any but loopback requires --keys."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0: a free one.")
    keys: Path | None = Field(
        default=None,
        description="File of API keys (`cuecard keys add`); without it anyone may ask.",
    )
    quotas: str | None = Field(
        default=None,
        description="Redis or Valkey server that counts what API keys use, for all servers that "
        "name it, such as redis://HOST:6379; by default each counts for itself.",
    )
    limits: Limits = Limits()
    poll: float = Field(default=2.0, gt=0, description="Polling interval of the registry.")
    cache: Path | None = Field(
        default=None, description="Folder of the disk cache; by default in the user's cache."
    )
    trusted: tuple[str, ...] = Field(
        default=(), description="Public keys. Only versions signed by one of them are served."
    )
    versions: ServedVersions = Field(
        default="all",
        description="Which versions are loaded and served: all, or only those that an alias points "
        "at.",
    )
    cors: tuple[str, ...] = Field(
        default=(),
        description="Web origin, such as https://app.example.com, that may call the server from a "
        "browser; '*' for any.",
    )
    system_messages: SystemMessages = Field(
        default="refuse",
        description="System messages of a chat with a prompt, whose template has no place for "
        "them: refuse, ignore, or prepend them to the user's message.",
    )


class EngineOptions(BaseModel):
    """What computes the answers, and what it may keep in memory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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


class ServedBackbone(BaseModel):
    """The backbone that a server loads, as `load_backbone` takes it, and its engine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: str
    dtype: Precision = "auto"
    device: str = "auto"
    quantize: Quantize = "none"
    adapter: Path | None = None
    options: EngineOptions = EngineOptions()

    def check(self) -> None:
        """Find what the engine cannot do, before anything is loaded.

        Raises:
            ConfigError: an adapter or a device, for vLLM.
        """
        if self.options.engine != "vllm":
            return
        if self.adapter is not None:
            raise ConfigError(
                "vLLM loads the backbone's own files and cannot merge an adapter into them",
                where="--adapter",
                got=str(self.adapter),
                expected="--engine local",
            )
        if self.device != "auto":
            raise ConfigError(
                "vLLM chooses the device itself",
                where="--device",
                got=self.device,
                expected="auto",
                hint="CUDA_VISIBLE_DEVICES selects the accelerators it may use",
            )


def check_settings(settings: ServerSettings) -> None:
    """Check the settings before anything is loaded.

    Raises:
        ConfigError: a public address or quotas without keys, or a malformed origin.
    """
    if settings.keys is None and not _is_loopback(settings.host):
        raise ConfigError(
            "refusing to listen on a public address without API keys",
            where="--host",
            got=settings.host,
            expected="127.0.0.1, or --keys FILE",
            hint="`cuecard keys add NAME --keys FILE` creates a key file",
        )
    if settings.quotas is not None and settings.keys is None:
        raise ConfigError(
            "--quotas counts what API keys use, and there are none",
            where="--quotas",
            expected="--keys FILE beside it",
        )
    for origin in settings.cors:
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(
                "not a web origin",
                where="--cors",
                got=origin,
                expected="https://HOST or https://HOST:PORT without a path, or '*' for any",
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
