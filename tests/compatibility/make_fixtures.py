"""Writes what cuecard left on disk before 0.2: prompts, runs, a sweep, an adapter and a registry.

Run once with the code of commit a225039, in an empty folder, to make `fixtures/`:

    python make_fixtures.py

Everything is made by the command line on a stored backbone of 25 KB. `expected.json` has what that
commit answered and scored.
"""

from __future__ import annotations

import io
import json
import random
import shutil
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cuecard.cli.main import main
from cuecard.recipe import Recipe, read_recipe, run_recipe

GOOD, BAD = ("good", "fine", "nice", "warm"), ("bad", "awful", "poor", "cold")
TEXTS = ["good and warm", "bad , poor film", "the nice film 7", "awful"]
WORDS = ["--word", "negative=bad", "--word", "positive=good"]
BACKBONE = ["--backbone", "backbone", "--dtype", "fp32"]
SHORT = ["--steps", "12", "--batch-rows", "8", "--init", "random", "--lr", "0.05", "--no-compare"]


def cuecard(*words: object) -> str:
    """What a command printed."""
    out = io.StringIO()
    try:
        with redirect_stdout(out):
            main([str(word) for word in words])
    except SystemExit as done:
        if done.code:
            raise RuntimeError(f"{words}: exit {done.code}") from done
    return out.getvalue()


def last_object(text: str) -> dict[str, Any]:
    """What `--json` printed last."""
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def make_backbone(folder: Path) -> None:
    """A random Llama of two layers in bfloat16, and a byte-level tokenizer."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    line = "Review: it is good and not bad Sentiment: nice film awful film Title: the warm one"
    core.train_from_iterator([line] * 9, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template="{% for m in messages %}{{ m['content'] }}\n{% endfor %}",
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.4)
    model.to(torch.bfloat16).save_pretrained(folder)


def make_data() -> None:
    """Reviews with a label, with several, and with a title."""
    rng = random.Random(0)
    rows = []
    for number in range(60):
        words = rng.choice([GOOD, BAD])
        label = "positive" if words is GOOD else "negative"
        rows.append((f"the {rng.choice(words)} film {number}", label, rng.choice(words)))
    for name, columns in {
        "reviews": [(text, label) for text, label, _ in rows],
        "several": [(text, text.split()[1]) for text, *_ in rows],
        "titles": [(text, title) for text, _, title in rows],
    }.items():
        lines = ["text,label", *(",".join(row) for row in columns)]
        Path(f"{name}.csv").write_text("\n".join(lines) + "\n")


def train(data: str, out: str, *words: object, template: str = "Review: {text}\\nIt is") -> None:
    cuecard("train", f"{data}.csv", *BACKBONE, "--template", template, "--out", out, *words)


def make_runs() -> None:
    """A finished run with its comparison, one that was cut, and a run per form of prompt."""
    labels = [*WORDS, "--length", "3", *SHORT]
    train("reviews", "runs/reviews", *labels, "--compare", "--set", "demonstrations=[2]")
    train("reviews", "made/later", *labels, "--seed", "1")
    train("reviews", "made/prefix", *labels, "--method", "p-tuning-v2")
    train("reviews", "made/layers", *labels, "--method", "deep-prompts")
    head = ["--length", "3", *SHORT, "--steps", "60", "--head-lr", "0.2"]
    train("several", "made/several", *head, "--kind", "multi-label")
    writes = ["--length", "3", *SHORT, "--steps", "60", "--set", "task.max_new_tokens=6"]
    train("titles", "made/titles", *writes, "--kind", "text-to-text")

    cut = {**read_recipe("made/later/recipe.yaml"), "out": "runs/cut"}
    cut["training"] |= {"checkpoint_every": 3, "eval_every": 4}

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 8:
            raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        run_recipe(Recipe.parse(cut), observer=stop)
    run_recipe(Recipe.parse({**cut, "out": "made/whole"}))

    cuecard(
        *("sweep", "reviews.csv", *BACKBONE, "--template", "Review: {text}\\nIt is", *WORDS),
        *("--length", "3", *SHORT, "--grid", "lr=0.01,0.1", "--out", "runs/sweep"),
    )
    cuecard(
        *("lora", "reviews.csv", *BACKBONE, "--template", "Review: {text}\\nIt is", *WORDS),
        *("--steps", "12", "--batch-rows", "8", "--lr", "0.05", "--rank", "2"),
        *("--out", "runs/lora"),
    )
    task = {"words": {"negative": "bad", "positive": "good"}}
    recipe = {
        "backbone": "backbone",
        "dtype": "fp32",
        "tasks": {
            "one": {
                "data": {"path": "reviews.csv"},
                "task": {"template": "Review: {text}\nIt is", **task},
            },
            "two": {"data": {"path": "reviews.csv"}, "task": {"template": "{text}\n:", **task}},
        },
        "method": {"length": 3},
        "training": {"steps": 6, "batch_rows": 4, "eval_every": 3},
        "out": "made/multitask",
    }
    Path("multitask.yaml").write_text(yaml.safe_dump(recipe))
    cuecard("multitask", "multitask.yaml")


def keep_prompts() -> None:
    """Of most runs the prompt's folder is enough."""
    for name in ("prefix", "layers", "several", "titles"):
        shutil.copytree(f"made/{name}/prompt", f"prompts/{name}")
    shutil.copytree("made/multitask/tasks/two", "prompts/multitask-two")
    shutil.copytree("made/multitask/shared", "prompts/shared")


def make_registry() -> None:
    """Two versions under an alias that moved once, and a prompt that writes."""
    cuecard("push", "runs/reviews", "reviews", "--registry", "registry")
    cuecard("push", "made/later", "reviews", "--registry", "registry")
    cuecard("push", "prompts/titles", "titles", "--registry", "registry")
    for version in (1, 2):
        cuecard(
            *("promote", f"reviews@{version}", "production", "--registry", "registry"),
            *("--why", f"version {version}"),
        )


def expected() -> dict[str, Any]:
    """What this commit answers and scores."""
    shared = json.loads(Path("prompts/shared/shared.json").read_text())
    found: dict[str, Any] = {
        "texts": TEXTS,
        "shared": shared["digest"],
        "predictions": {},
        "scores": {},
    }
    asked = {
        "runs/reviews": "reviews",
        "made/later": "reviews",
        "made/whole": "reviews",
        "runs/sweep/best": "reviews",
        "runs/lora": "reviews",
        "prompts/prefix": "reviews",
        "prompts/layers": "reviews",
        "prompts/several": "several",
        "prompts/titles": "titles",
        "prompts/multitask-two": "reviews",
    }
    for folder, data in asked.items():
        adapter = ["--adapter", f"{folder}/adapter"] if folder == "runs/lora" else []
        words = [*BACKBONE, *adapter, "--json"]
        told = [last_object(cuecard("predict", folder, text, *words)) for text in TEXTS]
        kept = ("answer", "probabilities")
        found["predictions"][folder] = [
            {key: one["predictions"][0][key] for key in kept} for one in told
        ]
        score = last_object(cuecard("eval", folder, f"{data}.csv", *words))
        found["scores"][folder] = {
            "data": f"{data}.csv",
            "metric": score["metric"],
            "value": score["metrics"][score["metric"]],
        }
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    make_backbone(Path("backbone"))
    make_data()
    make_runs()
    keep_prompts()
    make_registry()
    Path("expected.json").write_text(json.dumps(expected(), indent=1) + "\n")
    shutil.rmtree("made")
    for figures in [*Path("runs").rglob("figures"), *Path("runs").rglob(".lock")]:
        shutil.rmtree(figures) if figures.is_dir() else figures.unlink()
