"""From texts to a finished graph: tuned prompts, then GraphRAG itself: `make test-graphrag`.

    python -m benchmarks.graphrag.index [--model qwen2.5-coder-0.5b-instruct] [--out FOLDER]

What a user does, with nothing stood in for: `cuecard serve` serves an LLM and, as a second
process, an encoder; `graphrag init` makes a project whose settings name both; `cuecard graphrag`
tunes, applies and validates its prompts; `graphrag index` of the pinned version makes the graph. It
fails where the graph is not whole.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from pyarrow import parquet

from benchmarks.graphrag.server import SECONDS, Served, project_settings, run_graphrag, served
from benchmarks.places import ROOT
from cuecard.errors import TrainingError
from cuecard.plain_files import write_text

MODEL, EMBEDDER = "qwen2.5-coder-1.5b-instruct", "all-minilm-l6-v2"
OUT = ROOT / "runs" / "graphrag-index"
TYPES = "person,organization,place,ship"
TABLES = ("text_units", "entities", "relationships", "communities", "community_reports")
TEXTS = {
    "harbour.txt": "The ferry Calypso left Port Amsel on Monday under Captain Ines Moreau. "
    "Larkfield Lines, which owns the Calypso, bought her from the Stadtwerk shipyard in spring. "
    "Bo Berg, who runs the harbour office of Port Amsel, said the pier was too short for her.",
    "inquiry.txt": "On Tuesday the Calypso touched the pier of Skelby. Captain Ines Moreau told "
    "the Coastal Inquiry that the tug Boreas had come late. The Boreas belongs to the harbour "
    "office of Skelby, whose head, Caro Diaz, denied this before the Coastal Inquiry.",
    "contract.txt": "Larkfield Lines and the Stadtwerk shipyard signed a contract in Port Amsel. "
    "Stadtwerk is to lengthen the Calypso by May. Ann Lee, who chairs Larkfield Lines, thanked Bo "
    "Berg and the town of Port Amsel for a new pier.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the graph; 0 where it is whole."""
    given = _arguments(arguments)
    project = given.out / "project"
    shutil.rmtree(given.out, ignore_errors=True)
    for name, text in TEXTS.items():
        write_text(text + "\n", project / "input" / name)
    with served(given.model, given.out) as llm, served(EMBEDDER, given.out) as embedder:
        _initialise(project, llm, embedder)
        _tune(project, llm)
        print("graphrag index ...", flush=True)
        log = given.out / "graphrag.log"
        run_graphrag(["-m", "graphrag", "index", "--root", str(project)], log)
        calls, tokens = llm.used()
    rows = {name: _rows(project, name) for name in TABLES}
    print(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in rows.items()))
    print(f"{calls} calls, {tokens:,} tokens; the graph is in {project / 'output'}")
    return 0


def _initialise(project: Path, llm: Served, embedder: Served) -> None:
    """`graphrag init`, and settings that name our servers and suit small models."""
    words = ["init", "--root", str(project), "--model", llm.model, "--embedding", embedder.model]
    run_graphrag(["-m", "graphrag", *words, "--force"], project.parent / "graphrag.log")
    file = project / "settings.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    own = project_settings(llm.url, llm.model, embedder.url, embedder.model)
    for section, values in own.items():
        settings[section] = settings.get(section, {}) | values
    settings["chunking"] |= {"size": 200, "overlap": 20}
    # The encoder has 512 positions, and its tokens are shorter than those counted here.
    settings["embed_text"] |= {"batch_max_tokens": 300}
    settings["community_reports"] |= {"max_length": 300, "max_input_length": 2000}
    write_text(yaml.safe_dump(settings), file)


def _tune(project: Path, llm: Served) -> None:
    """Our prompts, applied and checked as a user does it."""
    root = ["--root", str(project)]
    model = ["--llm", llm.model, "--llm-url", llm.url, "--llm-seconds", str(SECONDS)]
    for words in (
        ["tune", *root, *model, "--types", TYPES, "--examples", "2", "--apply"],
        ["validate", *root],
    ):
        print(f"cuecard graphrag {words[0]} ...", flush=True)
        subprocess.run([sys.executable, "-m", "cuecard", "graphrag", *words], check=True, cwd=ROOT)


def _rows(project: Path, name: str) -> int:
    """Rows of a table of the graph.

    Raises:
        TrainingError: it is not there, or is empty.
    """
    file = project / "output" / f"{name}.parquet"
    count = parquet.read_metadata(file).num_rows if file.exists() else 0
    if not count:
        raise TrainingError("the graph is not whole", where=str(file), expected="rows")
    return count


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", default=MODEL, help="the LLM")
    parser.add_argument("--out", type=Path, default=OUT, help="folder, which is emptied first")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
