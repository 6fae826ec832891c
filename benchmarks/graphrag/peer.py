"""GraphRAG's own extraction prompts: as it ships them, and as its `prompt-tune` makes them.

Run with GraphRAG's interpreter, which has no cuecard:

    python peer.py default OUT.txt
    python peer.py tuned OUT.txt PROJECT SEED TYPE [TYPE ...]

`prompt-tune` cannot be given types of entities, so that its own would all be wrong here; what asks
the LLM for them is replaced by the given ones. All else is its code: the sample, the questions, the
examples, the template. It has no seed: NumPy's, which draws its sample, is set.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def default() -> str:
    """The prompt that `graphrag init` writes."""
    module: Any = import_module("graphrag.prompts.index.extract_graph")
    return str(module.GRAPH_EXTRACTION_PROMPT)


async def tuned(project: Path, seed: int, types: list[str]) -> str:
    """The extraction prompt of `graphrag prompt-tune`, given the types."""
    import_module("numpy.random").seed(seed)
    api: Any = import_module("graphrag.api.prompt_tune")
    config: Any = import_module("graphrag.config.load_config")

    async def given(*args: Any, **kwargs: Any) -> list[str]:
        return types

    assert callable(api.generate_entity_types)
    api.generate_entity_types = given
    prompts = await api.generate_indexing_prompts(config=config.load_config(root_dir=project))
    return str(prompts[0])


def main(arguments: list[str]) -> None:
    """Write the prompt."""
    which, out, *rest = arguments
    if which == "default":
        text = default()
    else:
        project, seed, *types = rest
        text = asyncio.run(tuned(Path(project), int(seed), types))
    Path(out).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
