"""`cuecard ensemble`: several prompts answering as one, and one that learns to answer like them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from cuecard.cli.options import BatchRows
from cuecard.cli.registry_options import DEFAULT_REGISTRY, RegistryPlace
from cuecard.cli.sources import BackboneSource, LabelledRows
from cuecard.cli.views.console import Json, console, print_json
from cuecard.cli.views.tables import say_line
from cuecard.errors import DataWarning
from cuecard.evaluation.ensemble import Ensemble, Rule


def ensemble(
    rows: LabelledRows,
    prompts: Annotated[
        list[Path],
        typer.Argument(
            metavar="PROMPT",
            help="Runs' or prompts' folders, or versions in a registry.",
            show_default=False,
        ),
    ],
    source: BackboneSource,
    rule: Annotated[
        Rule, typer.Option(help="Average the probabilities, or take the majority vote.")
    ] = "mean",
    distil_to: Annotated[
        Path | None,
        typer.Option(
            "--distil",
            metavar="FOLDER",
            help="Also distil the ensemble into one prompt on DATA; its run is kept here.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of --distil.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Of --distil.")] = 0,
    batch_rows: BatchRows = 32,
    registry: RegistryPlace = DEFAULT_REGISTRY,
    as_json: Json = False,
) -> None:
    """Score several prompts of one task as an ensemble, on labelled rows.

    With --distil a new prompt is trained on a part of the rows and scored on another part, where it
    is compared with the ensemble.

    Example: cuecard ensemble more-tickets.csv runs/a runs/b runs/c --rule vote

    Exit codes: 0 done, 2 bad input, 130 stopped by Ctrl-C.
    """
    from cuecard.cli.rows import warn_of_few
    from cuecard.cli.views.evaluation import in_words, print_evaluation
    from cuecard.cli.views.progress import TrainView, fetch_progress
    from cuecard.evaluation import only
    from cuecard.saved_prompts import find_prompt
    from cuecard.tasks import Task
    from cuecard.training import TrainConfig
    from cuecard.training.ensemble import distil

    saved = find_prompt(prompts[0], registry)
    # The rows first: a mistake in them need not wait for a model.
    records, unknown = rows.read(saved.spec, saved.text_field, json=as_json)
    first = saved.prompt
    others = [find_prompt(path, registry).prompt for path in prompts[1:]]
    with fetch_progress(json=as_json) as progress:
        model = source.load_for(first, saved, progress)
    asked = Ensemble([prompt.bind(model) for prompt in (first, *others)], rule)
    opened = [first, *others]
    report: dict[str, Any] = {
        "rule": rule,
        "members": [p.digest for p in opened],
        "data": rows.data,
    }
    if distil_to is not None:
        task = Task.from_records(first.spec, records, split=(0.8, 0.1, 0.1))
        with TrainView(json=as_json) as view:
            run = distil(
                model,
                task,
                opened,
                config=TrainConfig(steps=steps, seed=seed),
                folder=distil_to,
                observer=view,
            )
        records = list(task.test)
        assert run.test is not None
        report["distilled"] = {"digest": run.prompt.digest, **run.test.to_dict()}
    warn_of_few(len(records))
    found = asked.evaluate(records, batch_rows=batch_rows)
    report |= {"metric": found.primary, **found.to_dict()}
    if unknown:
        report["unknown_labels"] = unknown
    each = [prompt.seen(records) for prompt in opened]
    for prompt, seen in zip(opened, each, strict=True):
        if seen:
            named = f"the prompt {prompt.digest[:12]}"
            warnings.warn(DataWarning(seen.sentence(named)), stacklevel=1)
    unseen = None
    if any(each):
        report["seen_rows"] = [
            {"trained": len(seen.trained), "selected": len(seen.selected)} for seen in each
        ]
        if rest := sorted(set.intersection(*({*seen.unseen} for seen in each))):
            unseen = only(first.spec, found, rest)
            report["unseen"] = unseen.to_dict()
    if as_json:
        print_json(report)
        return
    print_evaluation(found, first.spec.labels, console())
    if unseen is not None:
        say_line(console(), f"\nwithout those rows: {in_words(unseen)}")
    if distil_to is not None and run.test is not None:
        said = f"{found.primary} {run.test.score:.3f}"
        say_line(console(), f"\ndistilled into {distil_to}: {said}")
