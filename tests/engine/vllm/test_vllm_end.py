"""How vLLM's processes end: all of them with the engine, and the engine with any of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from cuecard.backbones import load_frozen
from cuecard.engine.protocol import Generation, Sampling, Scoring
from cuecard.errors import EngineError
from cuecard.types import Encoded
from support.serving.conformance import written
from support.serving.engines import KINDS, at_work
from support.serving.llama import save_tiny_llama

# Starts an engine on the model folder it is given, and waits.
SCRIPT = """
import asyncio, sys
from cuecard.backbones import load_frozen
from cuecard.engine.vllm.backbone_info import BackboneInfo
from cuecard.engine.vllm.engine import VllmEngine
from cuecard.engine.vllm.library import VllmOptions

async def main():
    known = BackboneInfo.of(load_frozen(sys.argv[1], dtype="fp32"))
    await VllmEngine(known, VllmOptions(cache_bytes=1 << 28)).start()
    print("ready", flush=True)
    await asyncio.sleep(600)

if __name__ == "__main__":
    asyncio.run(main())
"""
ROW = Scoring(None, Encoded((5, 6, 7), ()), ((8,),))


def test_a_dead_process_is_an_engine_error_for_everybody(tmp_path: Path) -> None:
    KINDS["vllm"].needed()
    backbone = load_frozen(save_tiny_llama(tmp_path / "tiny"), dtype="fp32")
    others = set(psutil.Process().children(recursive=True))
    with at_work(KINDS["vllm"], backbone) as (engine, run):
        # The tracker of shared memory is Python's own, and stays with this process.
        own = {
            process
            for process in set(psutil.Process().children(recursive=True)) - others
            if "resource_tracker" not in " ".join(process.cmdline())
        }
        assert own
        assert engine.stats()["failed"] == 0
        run(_killed_while_writing(engine, own))
        assert engine.stats()["failed"] == 1
        assert isinstance(run(_raised(lambda: engine.score([ROW]))), EngineError)
    assert psutil.wait_procs(own, timeout=60)[1] == []


def test_a_killed_server_leaves_nothing_behind(tmp_path: Path) -> None:
    KINDS["vllm"].needed()
    folder, script = save_tiny_llama(tmp_path / "tiny"), tmp_path / "serve.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        own = psutil.Process(server.pid).children(recursive=True)
        assert len(own) >= 2
        server.kill()
    assert psutil.wait_procs(own, timeout=60)[1] == []


async def _killed_while_writing(engine: Any, processes: set[psutil.Process]) -> None:
    long = Generation(None, (5, 6, 7), 0, Sampling(240, stop_ids=()))
    writing = [asyncio.create_task(_raised(lambda: written(engine, long))) for _ in range(4)]
    await engine.score([ROW])  # they are under way
    for process in processes:
        process.kill()
    found = await asyncio.gather(*writing)
    assert all(error is None or isinstance(error, EngineError) for error in found)
    assert any(isinstance(error, EngineError) for error in found)


async def _raised(call: Callable[[], Any]) -> Exception | None:
    try:
        await call()
    except EngineError as error:
        return error
    return None
