"""The kinds of runs that are kept in folders: what starts them, and what their folders hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunKind:
    """A kind of run that is kept in a folder.

    Attributes:
        name: what messages call it.
        command: what starts and resumes it.
        file: holds its settings.
        done: what only a finished run leaves.
        results: files and folders that a run leaves: as long as there is none, another recipe loses
            nothing.
        free: settings, by their dotted names, that two sittings of a run need not share; a name
            includes everything below it.
        out: how another folder is chosen.
        folders: what `--overwrite` removes beside what every kind leaves.
    """

    name: str
    command: str
    file: str
    done: str
    results: tuple[str, ...]
    free: frozenset[str]
    out: str = "--out"
    folders: tuple[str, ...] = ()


# Changed, they change neither what is trained nor a bit of it.
_FREE = frozenset(
    {
        "out",
        "report_to",
        "device",
        "compare",
        "demonstrations",
        "task.max_new_tokens",
        "training.activations",
        "training.checkpoint_every",
    }
)
_RESULTS = ("checkpoint.pt", "result.json", "prompt")


def _inside(*sections: str) -> frozenset[str]:
    return frozenset(f"{section}.{name}" for section in sections for name in _FREE)


RUN = RunKind("run", "cuecard train", "recipe.yaml", "result.json", _RESULTS, _FREE)
SWEEP = RunKind(
    "sweep",
    "cuecard sweep",
    "sweep.yaml",
    "sweep.json",
    ("checkpoint.pt", "best"),
    _inside("recipe"),
)
LORA = RunKind(
    "LoRA run",
    "cuecard lora",
    "lora.yaml",
    "result.json",
    (*_RESULTS, "adapter"),
    _inside("recipe"),
)
PET = RunKind(
    "run of pattern-exploiting training",
    "cuecard pet",
    "pet.yaml",
    "result.json",
    (*_RESULTS, "patterns/checkpoint.pt"),
    _inside("recipe"),
    folders=("patterns",),
)
LM_BFF = RunKind(
    "run with demonstrations",
    "cuecard lm-bff",
    "lm-bff.yaml",
    "prompt",
    ("checkpoint.pt", "sets", "prompt"),
    _inside("recipe"),
    folders=("sets",),
)
META_INIT = RunKind(
    "run of meta-learning",
    "cuecard meta-init",
    "meta.yaml",
    "init.safetensors",
    ("checkpoint.pt", "init.safetensors"),
    frozenset({"out", "report_to", "device"}),
)
COMPILE = RunKind(
    "compilation",
    "cuecard compile",
    "compile.yaml",
    "report.json",
    ("questions.jsonl", "teacher.jsonl", "lengths", "prompt"),
    frozenset({"out", "device", "training.activations", "training.checkpoint_every"}),
    folders=("lengths", "prompt"),
)
PORT = RunKind(
    "port",
    "cuecard port",
    "port.yaml",
    "report.json",
    ("teacher", "training", "prompts"),
    frozenset({"out", "device", "training.activations", "training.checkpoint_every"}),
    folders=("teacher", "training", "prompts"),
)
MULTITASK = RunKind(
    "multitask run",
    "cuecard multitask",
    "multitask.yaml",
    "shared",
    ("checkpoint.pt", "teachers/checkpoint.pt", "shared"),
    _FREE | {"tasks.*.task.max_new_tokens"},
    out="out in the recipe",
)
TRANSFER = RunKind(
    "transfer",
    "cuecard transfer",
    "transfer.yaml",
    "best/result.json",
    ("checkpoint.pt", "best"),
    _inside("recipe"),
    folders=("best",),
)
VTAB = RunKind(
    "protocol run",
    "cuecard bench vtab",
    "vtab.yaml",
    "vtab.json",
    ("select/checkpoint.pt", "retrain", "tests"),
    frozenset({"out", "device"}),
    folders=("select", "retrain", "tests"),
)
COMPARE = RunKind(
    "comparison",
    "cuecard compare",
    "compare.yaml",
    "compare.json",
    ("contests",),
    # What is there already is not run again, whatever else is asked for.
    _inside("recipe") | {"contest.contestants", "contest.rows", "contest.price"},
    folders=("contests",),
)
SEARCH = RunKind(
    "search",
    "cuecard search",
    "search.yaml",
    "search.json",
    ("journal.jsonl", "prompt", "prompt.txt"),
    _inside("recipe")
    | {"budget", "llm.at_once", "llm.seconds", "llm.price"}
    | {"solver.at_once", "solver.seconds", "solver.price"}
    | {"judge.budget", "judge.at_once", "judge.seconds", "judge.price", "judge.agreement"},
    folders=("prompt",),
)
# What was answered in a folder is not asked again, whatever else is asked there.
_ASKED = frozenset(
    {"budget", "llm.at_once", "llm.seconds", "llm.price", "limit", "max_tokens", "out"}
)
GRAPHRAG_MEASURE = RunKind(
    "measurement of GraphRAG's prompts",
    "cuecard graphrag measure",
    "measure.yaml",
    "measure.json",
    ("journal.jsonl", "measure.json"),
    _ASKED
    | {"gold", "corpus", "root", "chunk_size", "types", "type_names", "seed", "form"}
    | {"generic", "prompts", "prompt_folders", "backbone", "runs", "temperature"},
)
GRAPHRAG_DATASET = RunKind(
    "data set of extractions",
    "cuecard graphrag dataset",
    "dataset.yaml",
    "dataset.jsonl",
    ("journal.jsonl", "dataset.jsonl"),
    _ASKED | {"gold", "corpus", "root", "chunk_size", "types", "type_names", "seed", "prompt"},
)
GRAPHRAG_OPTIMISE = RunKind(
    "search for one of GraphRAG's prompts",
    "cuecard graphrag optimise",
    "optimise.yaml",
    "optimise.json",
    ("journal.jsonl", "optimise.json"),
    frozenset({"budget", "out"})
    | {f"{llm}.{key}" for llm in ("llm", "writer") for key in ("at_once", "seconds", "price")},
)
KINDS = (
    *(RUN, SWEEP, LORA, PET, LM_BFF, META_INIT, COMPILE, PORT, MULTITASK, TRANSFER, VTAB, COMPARE),
    SEARCH,
    *(GRAPHRAG_MEASURE, GRAPHRAG_DATASET, GRAPHRAG_OPTIMISE),
)
