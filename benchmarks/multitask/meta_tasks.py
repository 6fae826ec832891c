"""Tasks that a start of prompts is learnt on: `make meta-init`.

    python -m benchmarks.multitask.meta_tasks runs/meta-tasks    # writes the rows and tasks.yaml
    cuecard meta-init runs/meta-tasks/tasks.yaml --out runs/meta-init

They are tables of the package sae-probes that no benchmark here tests on: neither the targets of
`multitask_sets` nor their parts, relatives of them (Rotten Tomatoes beside SST-2), MultiNLI, nor
the reviews of Yelp. The second command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.multitask.sets import SOURCES, ProbeSet, records_of
from cuecard.tasks import draw_rows

_NO_YES, _FALSE_TRUE = {"0": "no", "1": "yes"}, {"False": "no", "True": "yes"}
_BIGRAM = {"not_bigram": "no", "bigram": "yes"}


def _same(*words: str) -> dict[str, str]:
    return {word: word for word in words}


TASKS = (
    *SOURCES,
    ProbeSet("male", "5_hist_fig_ismale", "Name: {text}\nMale:", _NO_YES),
    ProbeSet("american", "6_hist_fig_isamerican", "Name: {text}\nAmerican:", _NO_YES),
    ProbeSet("politician", "7_hist_fig_ispolitician", "Name: {text}\nPolitician:", _NO_YES),
    ProbeSet(
        "timezone",
        "14_us_timezone",
        "Place: {text}\nTime zone:",
        {"Chicago": "Chicago", "New_York": "Boston", "Los_Angeles": "California"},
    ),
    ProbeSet("trump", "21_headline_istrump", "News: {text}\nAbout Trump:", _FALSE_TRUE),
    ProbeSet("obama", "22_headline_isobama", "News: {text}\nAbout Obama:", _FALSE_TRUE),
    ProbeSet("iran", "24_headline_isiran", "News: {text}\nAbout Iran:", _FALSE_TRUE),
    ProbeSet("front-page", "26_headline_isfrontpage", "News: {text}\nFront page:", _NO_YES),
    ProbeSet("exam", "36_sciq_tf", "{text}\nCorrect:", _NO_YES),
    ProbeSet(
        "truth", "41_truthqa_tf", "{text}\nAnswer:", {"incorrect": "wrong", "correct": "right"}
    ),
    ProbeSet("timing", "42_temp_sense", "{text}\nMakes sense:", _same("no", "yes")),
    ProbeSet("physical", "44_phys_tf", "{text}\nWorks:", _NO_YES),
    ProbeSet("brief", "49_cm_isshort", "{text}\nShort:", _FALSE_TRUE),
    ProbeSet("just", "51_just_is", "{text}\nFair:", _NO_YES),
    ProbeSet("virtue", "52_virtue_is", "{text}\nFits:", _NO_YES),
    ProbeSet("credit-card", "68_credit-card", "{text}\nEnds with credit card:", _BIGRAM),
    ProbeSet("gene", "72_gene-expression", "{text}\nAbout genes:", _BIGRAM),
    ProbeSet("court", "76_trial-court", "{text}\nAbout courts:", _BIGRAM),
    ProbeSet("derivative", "77_second-derivative", "{text}\nSecond derivative:", _BIGRAM),
    ProbeSet("side-effects", "80_side-effects", "{text}\nAbout side effects:", _BIGRAM),
    ProbeSet("mental-health", "85_mental-health", "{text}\nAbout mental health:", _BIGRAM),
    ProbeSet("grammar", "87_glue_cola", "Sentence: {text}\nCorrect:", _NO_YES),
    ProbeSet("paraphrase", "89_glue_mrpc", "{text}\nSame meaning:", _NO_YES),
    ProbeSet("hate", "106_hate_hate", "Tweet: {text}\nHateful:", _NO_YES),
    ProbeSet("machine", "110_aimade_humangpt3", "{text}\nWritten by a machine:", _NO_YES),
    ProbeSet("bronx", "116_nyc_borough_Bronx", "Place: {text}\nIn the Bronx:", _NO_YES),
    ProbeSet("texas", "119_us_state_TX", "Place: {text}\nIn Texas:", _NO_YES),
    ProbeSet("cause", "133_context_type_Causality", "Question: {text}\nAsks for a cause:", _NO_YES),
)


def write_tasks(
    folder: Path,
    tasks: Sequence[ProbeSet] = TASKS,
    *,
    backbone: str = "smollm2-135m-instruct",
    rows: int = 400,
    tokens: int = 32,
    package: Path | None = None,
    **meta: Any,
) -> Path:
    """Write a CSV file of each task, and the recipe of a start that is learnt from them.

    Args:
        rows: of each task, at most.
        meta: settings of `cuecard.training.few_shot.meta.MetaConfig`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sections: dict[str, Any] = {}
    for one in tasks:
        place = folder / f"{one.name}.csv"
        with place.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "label"))
            drawn = draw_rows(records_of(one, package), rows, "meta")
            writer.writerows((record.fields["text"], record.target) for record in drawn)
        sections[one.name] = {
            "data": {"path": str(place)},
            "task": {
                "template": one.template,
                "labels": list(one.words.values()),
                "max_length": tokens,
            },
        }
    recipe = {"backbone": backbone, "tasks": sections, "meta": meta}
    path = folder / "tasks.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), "utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the rows and the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=80)
    parser.add_argument("--tasks-per-round", type=int, default=4)
    parser.add_argument("--inner-steps", type=int, default=4)
    parser.add_argument("--batch-rows", type=int, default=4)
    given = parser.parse_args(arguments)
    sizes = {k: v for k, v in vars(given).items() if k != "folder"}
    print(write_tasks(given.folder, length=20, **sizes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
