"""`cuecard`: the commands, and how their errors reach a user."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import import_module
from typing import Annotated, Any

import typer

from cuecard.cli.boundary import boundary
from cuecard.cli.usage import WIDTH, Command, Program, UsageError, usage_mistake
from cuecard.lazy import require_extra

_NOTHING_ASKED = 2  # the exit code of `cuecard` alone, which shows the help
_COMPLETE = "_CUECARD_COMPLETE"  # set by the shell's completion, see `--show-completion`

# Name -> its module in `commands`, named like its function, and the first words of its help. Only
# the command that was asked for is imported: with torch and transformers that takes seconds.
COMMANDS = {
    "demo": (
        "train.demo",
        "Train a prompt on built-in data, evaluate it on unseen rows, and use it in a new process.",
    ),
    "advise": (
        "train.advise",
        "Advise how to do a task, from its rows and what was measured elsewhere.",
    ),
    "train": (
        "train.train",
        "Train a prompt, select it on validation rows, and evaluate it once on the test rows.",
    ),
    "sweep": (
        "train.sweep",
        "Train many prompts in shared passes; validation rows select one, test rows see only that.",
    ),
    "search": (
        "train.search",
        "Search for a prompt's words: instructions and demonstrations, within a budget.",
    ),
    "multitask": (
        "train.multitask",
        "Train one prompt for several tasks (MPT); new tasks can start from what they share.",
    ),
    "pet": (
        "train.pet",
        "Train a prompt per pattern, label unlabelled rows with all of them, distil one prompt "
        "(PET).",
    ),
    "lm-bff": (
        "train.lm_bff",
        "Train a prompt in front of solved rows, and answer with several sets of them (LM-BFF).",
    ),
    "transfer": (
        "train.transfer",
        "Train a prompt from the saved prompt that helps a new task most, or from none of them.",
    ),
    "compile": (
        "train.compile_text",
        "Compile a long text in front of every request into a short prompt that answers alike.",
    ),
    "port": (
        "train.port",
        "Port prompts to another backbone: new ones learn, without labels, what the old ones "
        "answer.",
    ),
    "meta-init": (
        "train.meta_init",
        "Learn from many tasks where the prompts of new ones start (Reptile, first-order MAML).",
    ),
    "lora": (
        "train.lora",
        "Train a LoRA adapter on a task's rows, alone or together with a frozen prompt.",
    ),
    "compare": (
        "train.compare",
        "Compare baselines, prompts and LoRA on the same rows: score, cost, forgetting, switching.",
    ),
    "bench": (
        "train.bench",
        "Score a method on sets of images by the protocol of VTAB-1k.",
    ),
    "eval": (
        "use.evaluate",
        "Score a prompt on labelled rows: metrics with intervals, per label, and confusions.",
    ),
    "predict": (
        "use.predict",
        "Predict labels with their probabilities, or generate texts, for new inputs.",
    ),
    "errors": (
        "use.errors",
        "List a run's rows that are answered wrongly, unsurely, or probably mislabelled.",
    ),
    "table": (
        "use.table",
        "Table finished runs: mean and standard deviation over runs that differ in their seed.",
    ),
    "inspect": (
        "use.inspect",
        "Show a prompt's size, task, provenance and metrics, and the words nearest to its vectors.",
    ),
    "ensemble": (
        "use.ensemble",
        "Score several prompts of one task as an ensemble, on labelled rows.",
    ),
    "nearest": (
        "use.nearest",
        "Rank saved prompts by their similarity to one. No backbone is loaded.",
    ),
    "track": (
        "use.track",
        "Send finished runs to a tracker: TensorBoard, MLflow, Weights & Biases or Trackio.",
    ),
    "export": ("publish.export", "Export a prompt for another engine. No backbone is loaded."),
    "import": (
        "publish.import_prompt",
        "Import a PEFT adapter, an array or words as a prompt for one task and backbone.",
    ),
    "methods": (
        "machine.methods",
        "List the methods: what each trains, where it works, its settings and their defaults.",
    ),
    "push": (
        "publish.push",
        "Publish a prompt as the next version of a name. The same content keeps its version.",
    ),
    "list": (
        "publish.list_prompts",
        "List a registry's prompts with their newest versions and aliases.",
    ),
    "show": (
        "publish.show",
        "Show a prompt's versions and its aliases' history, or everything about one version.",
    ),
    "promote": (
        "publish.promote",
        "Point an alias at a version, in one recorded step, if promotion checks pass.",
    ),
    "rollback": (
        "publish.rollback",
        "Point an alias back at its previous version; repeat to go back further.",
    ),
    "pull": (
        "publish.pull",
        "Write a version's prompt folder, every byte verified, whole or not at all.",
    ),
    "delete": (
        "publish.delete",
        "Delete a version that no alias points to, or an alias. Numbers are never reused.",
    ),
    "verify": (
        "publish.verify",
        "Verify every version, file, alias and signature in a registry, and its journal.",
    ),
    "serve": (
        "serve.serve",
        "Serve a registry's prompts over HTTP; changes in the registry are live in seconds.",
    ),
    "board": (
        "serve.board",
        "Show runs, their answers and registries in a browser; runs are watched live.",
    ),
    "keys": (
        "serve.keys",
        "Add, list or revoke API keys; a running server picks up the change at once.",
    ),
    "deploy ray": (
        "serve.deploy_ray",
        "Deploy replicas of `cuecard serve` on Ray Serve, behind one address.",
    ),
    "gc": (
        "publish.gc",
        "Remove what deleted versions and killed processes left behind. Pushes may run meanwhile.",
    ),
    "graphrag tune": (
        "graphrag.tune",
        "Write GraphRAG's prompts for a corpus, with its types of entities and solved examples.",
    ),
    "graphrag measure": (
        "graphrag.measure",
        "Measure extraction prompts on the same texts: on gold, or on a corpus without.",
    ),
    "graphrag optimise": (
        "graphrag.optimise",
        "Search for an extraction prompt: its instruction, its types' names and its examples.",
    ),
    "graphrag dataset": (
        "graphrag.dataset",
        "Write texts with what is to be extracted from them, as rows for `cuecard train`.",
    ),
    "graphrag validate": (
        "graphrag.validate",
        "Check a GraphRAG project's prompts for what would stop or spoil an index run.",
    ),
    "backbones": (
        "machine.backbones",
        "List the catalogue's models: what they are, how large, and whether they are cached.",
    ),
    "plan": (
        "machine.plan",
        "Compute memory, speed and time of a training on other hardware. Nothing is run.",
    ),
    "doctor": (
        "machine.doctor",
        "Check Python, torch, the processor, memory, disk, the cache and the installed versions.",
    ),
}


SCORING = {"use.evaluate", "use.ensemble", "graphrag.tune", "graphrag.measure", "graphrag.optimise"}
"""Commands that need the libraries of the extra `train`, beside those that are listed under it."""

FAMILIES = {
    "deploy": "Servers on machines that something else looks after.",
    "graphrag": "Prompts for GraphRAG: made from a folder of texts, and checked.",
}
"""Commands of two words, such as `cuecard graphrag validate`: their first word, and its help."""

GROUPS = ("train", "use", "publish", "serve", "graphrag", "machine")
"""The folders of `commands`, in the order in which help lists them."""


def app_for(command: str | None) -> typer.Typer:
    """The command line, with one command; of the others there are names and help alone.

    Args:
        command: its name, of one or two words.
    """
    app = typer.Typer(
        name="cuecard",
        cls=Program,
        help="Adapt one frozen language model to many tasks with prompts of tens to hundreds of "
        "kilobytes.",
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings=WIDTH,
    )
    app.callback()(_options)
    families: dict[str, typer.Typer] = {}
    for group in GROUPS:
        for name, (module, text) in COMMANDS.items():
            if not module.startswith(f"{group}."):
                continue
            first, _, last = name.rpartition(" ")
            if first and first not in families:
                families[first] = _family(app, first, group)
            asked = name == command
            families.get(first, app).command(
                last,
                cls=Command,
                help=None if asked else text,
                rich_help_panel=group.capitalize(),
                context_settings=WIDTH,
            )(function_of(module) if asked else _not_asked_for)
    return app


def _family(app: typer.Typer, name: str, group: str) -> typer.Typer:
    """The place of commands that share their first word."""
    made = typer.Typer(cls=Program, help=FAMILIES[name], rich_markup_mode=None)
    app.add_typer(
        made, name=name, cls=Program, rich_help_panel=group.capitalize(), context_settings=WIDTH
    )
    return made


def function_of(module: str) -> Callable[..., None]:
    """The function of a command's module, which has its name, with all its options."""
    from cuecard.cli.fields import expanded

    group, _, name = module.rpartition(".")
    found = expanded(getattr(import_module(f"cuecard.cli.commands.{module}"), name))
    if group != "train" and module not in SCORING:
        return found

    @wraps(found)
    def call(**options: Any) -> None:
        require_extra("train", f"`cuecard {_name_of(module)}`")
        found(**options)

    return call


def _name_of(module: str) -> str:
    """The command whose module it is."""
    return next(name for name, (home, _) in COMMANDS.items() if home == module)


def _show_version(wanted: bool) -> None:
    if wanted:
        from cuecard.version import __version__

        typer.echo(f"cuecard {__version__}")
        raise typer.Exit


def _options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """What every command takes in front of it."""


def _not_asked_for() -> None:
    """Stands for a command of which only the name is shown."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 a user's mistake, 130 stopped by Ctrl-C, 1 a bug."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Looking for plugins of pydantic takes as long as building all of our settings.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    with boundary(words):
        app = app_for(_command_of(words))
        try:
            code = app(words or ["--help"], prog_name="cuecard", standalone_mode=False)
        except UsageError as error:
            raise usage_mistake(error, words) from error
        sys.exit(code or 0 if words else _NOTHING_ASKED)


def _command_of(words: Sequence[str]) -> str | None:
    """The command that is run, or whose words a shell asks to complete."""
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS")
    if _COMPLETE in os.environ and line:
        words = line.split()[1:]
    count = 2 if words and words[0] in FAMILIES else 1
    return " ".join(words[:count]) or None
