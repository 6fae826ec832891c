"""From texts to a finished graph: tuned prompts, then GraphRAG itself: `make test-graphrag`.

    python -m benchmarks.graphrag.index [--model qwen2.5-coder-0.5b-instruct] [--out FOLDER]
        [--texts FILE|FOLDER ... --types person,place] [--chunk-tokens 1200] [--reference FOLDER]
        [--reporter MODEL] [--name NAME]

What a user does, with nothing stood in for: `cuecard serve` serves an LLM and, as a second
process, an encoder; `graphrag init` makes a project whose settings name both; `cuecard graphrag`
tunes, applies and validates its prompts; `graphrag index` of the pinned version makes the graph. It
fails where the graph is not whole. A second LLM may write the reports on communities: one of half a
billion parameters extracts, but hardly ends a report. With a reference, a graph of the same texts
that was made before, it tells how many rows both have and how many of its entities and
relationships are found. With a name it is kept in benchmarks/results for the docs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml
from pyarrow import parquet

from benchmarks.graphrag.server import SECONDS, Served, project_settings, run_graphrag, served
from benchmarks.graphrag.tables import INDEX_ROWS
from benchmarks.machine import cpu_seconds, processor, versions
from benchmarks.places import RESULTS, ROOT
from cuecard.errors import ConfigError, TrainingError
from cuecard.evaluation.report import write_json
from cuecard.plain_files import write_text

MODEL, EMBEDDER = "qwen2.5-coder-1.5b-instruct", "all-minilm-l6-v2"
OUT = ROOT / "runs" / "graphrag-index"
TYPES = "person,organization,place,ship"
_NAMED_BY = {"entities": ("title",), "relationships": ("source", "target")}
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
    texts = _read(given.texts) if given.texts else TEXTS
    shutil.rmtree(given.out, ignore_errors=True)
    for name, text in texts.items():
        write_text(text.rstrip("\n") + "\n", project / "input" / name)
    before = cpu_seconds()
    with ExitStack() as servers:
        names = dict.fromkeys((given.model, given.reporter or given.model))
        llms = [servers.enter_context(served(each, given.out)) for each in names]
        embedder = servers.enter_context(served(EMBEDDER, given.out))
        llm, reporter = llms[0], llms[-1]
        _initialise(project, llm, reporter, embedder, given.chunk_tokens)
        _tune(project, llm, given.types)
        print("graphrag index ...", flush=True)
        log = given.out / "graphrag.log"
        run_graphrag(["-m", "graphrag", "index", "--root", str(project)], log)
        calls, tokens = (sum(each) for each in zip(*(one.used() for one in llms), strict=True))
    spent = cpu_seconds() - before
    found = GraphTables(project / "output")
    told = {"texts": len(texts), "calls": calls, "tokens": tokens, "cpu_s": round(spent)}
    reports = {"reporter": given.reporter} if given.reporter else {}
    result: dict[str, Any] = {"model": given.model, **reports, **told, "rows": found.rows()}
    if given.reference is not None:
        other = GraphTables(given.reference)
        result |= {"reference": {"rows": other.rows(), "found": other.found_in(found)}}
    write_json(result, given.out / "index.json")
    if given.name:
        keep(given.name, result)
    print(json.dumps(result, indent=2))
    print(f"the graph is in {project / 'output'}")
    return 0


def keep(name: str, result: Mapping[str, Any], folder: Path = RESULTS) -> None:
    """Keep a graph's counts beside those of others, for the docs."""
    file = folder / "graphrag_index.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    row = {**result, "machine": processor(), "versions": versions()}
    write_json({**known, name: row}, file)


def _read(places: Sequence[Path]) -> dict[str, str]:
    """Texts by the names of their files."""
    files = [each for place in places for each in ([place] if place.is_file() else _texts(place))]
    return {file.name: file.read_text("utf-8") for file in files}


def _texts(folder: Path) -> list[Path]:
    """A folder's texts.

    Raises:
        ConfigError: there is none.
    """
    if not (found := sorted(folder.glob("*.txt"))):
        raise ConfigError("there are no texts", where=str(folder), expected="files ending in .txt")
    return found


def _initialise(
    project: Path, llm: Served, reporter: Served, embedder: Served, chunk_tokens: int
) -> None:
    """`graphrag init`, and settings that name our servers and suit small models."""
    words = ["init", "--root", str(project), "--model", llm.model, "--embedding", embedder.model]
    run_graphrag(["-m", "graphrag", *words, "--force"], project.parent / "graphrag.log")
    file = project / "settings.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    own = project_settings(llm.url, llm.model, embedder.url, embedder.model)
    for section, values in own.items():
        settings[section] = settings.get(section, {}) | values
    settings["chunking"] |= {"size": chunk_tokens, "overlap": chunk_tokens // 10}
    # The encoder has 512 positions, and its tokens are shorter than those counted here.
    settings["embed_text"] |= {"batch_max_tokens": 300}
    settings["community_reports"] |= {"max_length": 300, "max_input_length": 2000}
    if reporter != llm:
        models = settings["completion_models"]
        own = {"model": reporter.model, "api_base": reporter.url}
        models["reporter"] = models["default_completion_model"] | own
        settings["community_reports"]["completion_model_id"] = "reporter"
    write_text(yaml.safe_dump(settings), file)


def _tune(project: Path, llm: Served, types: str) -> None:
    """Our prompts, applied and checked as a user does it."""
    root = ["--root", str(project)]
    model = ["--llm", llm.model, "--llm-url", llm.url, "--llm-seconds", str(SECONDS)]
    for words in (
        ["tune", *root, *model, "--types", types, "--examples", "2", "--apply"],
        ["validate", *root],
    ):
        print(f"cuecard graphrag {words[0]} ...", flush=True)
        subprocess.run([sys.executable, "-m", "cuecard", "graphrag", *words], check=True, cwd=ROOT)


class GraphTables:
    """A graph's tables."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def rows(self) -> dict[str, int]:
        """Rows of each table.

        Raises:
            TrainingError: one is not there, or is empty.
        """
        return {name: self._rows(name) for name in INDEX_ROWS}

    def found_in(self, other: GraphTables) -> dict[str, float]:
        """Shares of its entities, by name, and of its related pairs that another graph has."""
        shares = {}
        for name, columns in _NAMED_BY.items():
            own, others = self._names(name, columns), other._names(name, columns)
            shares[name] = round(len(own & others) / len(own), 3)
        return shares

    def _names(self, name: str, columns: Sequence[str]) -> set[frozenset[str]]:
        read = parquet.read_table(self._folder / f"{name}.parquet", columns=[*columns])
        return {frozenset(str(x).upper() for x in row.values()) for row in read.to_pylist()}

    def _rows(self, name: str) -> int:
        file = self._folder / f"{name}.parquet"
        count = parquet.read_metadata(file).num_rows if file.exists() else 0
        if not count:
            raise TrainingError("the graph is not whole", where=str(file), expected="rows")
        return int(count)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", default=MODEL, help="the LLM")
    parser.add_argument("--reporter", help="another LLM for reports on communities")
    parser.add_argument("--texts", type=Path, nargs="+", help="files or folders of texts; own ones")
    parser.add_argument("--types", default=TYPES, help="of entities")
    parser.add_argument("--chunk-tokens", type=int, default=200, help="a tenth of them overlap")
    parser.add_argument("--reference", type=Path, help="the output folder of a graph made before")
    parser.add_argument("--name", help="of its row in the docs; by default it gets none")
    parser.add_argument("--out", type=Path, default=OUT, help="folder, which is emptied first")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
