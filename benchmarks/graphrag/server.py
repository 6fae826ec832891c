"""`cuecard serve` as a process, for as long as a GraphRAG of another environment needs it.

GraphRAG lives in `.graphrag` (`make .graphrag`), since it pins a great deal that cuecard does not.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks.places import ROOT
from benchmarks.server_process import serving
from cuecard.errors import ConfigError, TrainingError
from cuecard.registry import Registry

HOME = ROOT / ".graphrag"
_PYTHON = HOME / "bin" / "python"
SECONDS = 3600
"""That an answer may take: small machines are slow."""


def python_of_graphrag() -> Path:
    """The interpreter that has GraphRAG.

    Raises:
        ConfigError: it is not installed.
    """
    if not (HOME / ".installed").exists():
        raise ConfigError("GraphRAG is not installed: make .graphrag", where=str(HOME))
    return _PYTHON


@dataclass(frozen=True)
class Served:
    """A server of a model.

    Attributes:
        url: its address, ending in /v1.
        model: what it calls the model.
    """

    url: str
    model: str

    def used(self) -> tuple[int, int]:
        """Answers to chats and embedded inputs so far, and tokens that were read and written."""
        with urlopen(f"{self.url.removesuffix('/v1')}/metrics") as page:
            lines = page.read().decode().splitlines()
        calls = _summed(lines, "cuecard_requests_total", 'status="200"')
        return int(calls), int(_summed(lines, "cuecard_tokens_total", ""))


def _summed(lines: Sequence[str], name: str, label: str) -> float:
    own = (each for each in lines if each.startswith(f"{name}{{") and label in each)
    return sum(float(each.rpartition(" ")[2]) for each in own if "/v1/" in each or not label)


@contextmanager
def served(model: str, folder: Path, threads: int = 1) -> Iterator[Served]:
    """A server of a model without prompts, which is ended afterwards.

    Args:
        folder: gets the server's log, and an empty registry.

    Raises:
        ConfigError: it did not start.
    """
    registry = folder / "registry"
    Registry(registry).create()
    log = folder / f"serve-{Path(model).name}.log"
    with serving(model, registry, log, ("--timeout", str(SECONDS)), threads) as server:
        yield Served(f"{server.url}/v1", server.model)


def run_graphrag(arguments: Sequence[str], log: Path, seconds: float = 7200.0) -> None:
    """Run a command with GraphRAG's interpreter; its output goes to the log.

    Raises:
        ConfigError: GraphRAG is not installed.
        TrainingError: the command failed, or took too long.
    """
    # Not from the folder of the script, whose files have names that packages may have, too.
    command = [str(python_of_graphrag()), "-P", *arguments]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # prices, which it would look up elsewhere
    with log.open("a") as out:
        try:
            subprocess.run(
                command,
                stdout=out,
                stderr=out,
                env=env,
                check=True,
                timeout=seconds,
                cwd=log.parent,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise TrainingError(
                "GraphRAG's own command failed",
                where=" ".join(arguments[:3]),
                got=_last_line(log),
                hint=f"its output is in {log}",
            ) from error


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"


def project_settings(
    completion: str, model: str, embedding: str = "", embedder: str = "", answer_tokens: int = 1000
) -> dict[str, Any]:
    """A GraphRAG project's settings that call servers of ours.

    Args:
        completion, embedding: the servers' addresses; without the second one nothing is embedded.
        answer_tokens: of an answer, at most; without a limit `cuecard serve` ends chats at 256.
    """
    common = {"model_provider": "openai", "api_key": "none", "retry": {"type": "immediate"}}
    answers = {"temperature": 0.0, "max_tokens": answer_tokens, "timeout": SECONDS}
    return {
        "completion_models": {
            "default_completion_model": {
                **common,
                "model": model,
                "api_base": completion,
                "call_args": answers,
            }
        },
        "embedding_models": {
            "default_embedding_model": {
                **common,
                "model": embedder or model,
                "api_base": embedding or completion,
            }
        },
        "input": {"type": "text"},
        "extract_graph": {"max_gleanings": 0, "prompt": "prompts/extract_graph.txt"},
    }
