"""Every engine, for tests that ask the same of all."""

from __future__ import annotations

import asyncio
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from cuecard.engine.protocol import Engine
from cuecard.engine.vllm.backbone_info import BackboneInfo
from cuecard.engine.vllm.engine import VllmEngine
from cuecard.engine.vllm.library import VllmOptions
from cuecard.types import Backbone


@dataclass(frozen=True)
class Kind:
    """How a test comes by an engine.

    Attributes:
        package: what has to be there for it.
        make: the engine on a backbone.
        prefix_kv: whether it takes prompts of keys and values.
    """

    package: str
    make: Callable[[Backbone], Engine]
    prefix_kv: bool

    def needed(self) -> None:
        """Skip the test where the package is absent."""
        if importlib.util.find_spec(self.package) is None:
            pytest.skip(f"{self.package} is not installed")


def _local(backbone: Backbone) -> Engine:
    from cuecard.engine.local.engine import LocalEngine  # noqa: PLC0415 - not in every environment

    return LocalEngine(backbone)


def _vllm(backbone: Backbone) -> Engine:
    return VllmEngine(
        BackboneInfo.of(backbone), VllmOptions(cache_bytes=1 << 29, max_positions=256)
    )


KINDS = {
    "local": Kind("cuecard.engine.local.engine", _local, prefix_kv=True),
    "vllm": Kind("vllm", _vllm, prefix_kv=False),
}


@contextmanager
def at_work(kind: Kind, backbone: Backbone) -> Iterator[tuple[Engine, Callable[[Any], Any]]]:
    """A started engine, and what runs coroutines in its loop. The backbone is its alone by then."""
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner() as runner:
        # vLLM looks for this machine's outer address, and binds threads to cores, otherwise.
        patch.setenv("VLLM_HOST_IP", "127.0.0.1")
        patch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other packages, while they are imported
            engine = kind.make(backbone)
            runner.run(engine.start())
        try:
            yield engine, runner.run
        finally:
            runner.run(engine.close())
