"""lm-evaluation-harness itself runs prompts on tasks of its own, beside its Hugging Face model."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

import cuecard
from cuecard.errors import ConfigError
from cuecard.integrations.lm_eval.__main__ import main
from cuecard.lazy import import_library
from cuecard.registry import Registry
from support.command_line import save_tiny
from support.data.reviews import reviews
from support.random_prompts import random_prompt

PAGE = (Path(__file__).parents[2] / "docs" / "lm-eval.md").read_text()
(TASK,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
(SCRIPT,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(
    r"^python -m cuecard.integrations.lm_eval (run (?:.*\\\n)*.*)$", PAGE, re.MULTILINE
)
BENCHMARKS = "lambada_openai,hellaswag"
TASKS = {
    "reviews": TASK,
    "texts": """
task: texts
dataset_path: json
dataset_kwargs: {data_files: {test: reviews-test.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}]
""",
    "titles": """
task: titles
dataset_path: json
dataset_kwargs: {data_files: {test: reviews-test.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{text}} is"
doc_to_target: good
generation_kwargs: {until: [" g"], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match}]
""",
}
# What the harness and its libraries remark on.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone, a prompt for it, also in a registry, and the tasks with their rows."""
    room = tmp_path_factory.mktemp("harness")
    prompt = random_prompt(cuecard.load_backbone(save_tiny(room / "tiny"), dtype="fp32"), 1)
    registry = Registry(str(room / "prompts"))
    registry.push(prompt.save(room / "prompt"), "reviews")
    registry.promote("reviews@1", "production")
    rows = [{"text": r.text("text"), "label": str(r.target)} for r in reviews(12)]
    data = room / "reviews-test.jsonl"
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (room / "tasks").mkdir()
    for name, text in TASKS.items():
        (room / "tasks" / f"{name}.yaml").write_text(text.replace(data.name, str(data)))
    return room


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The harness, where it is installed; a cache of its own, and nothing fetched."""
    found = pytest.importorskip("lm_eval", reason="`make test-clients` installs it")
    monkeypatch.setenv("CUECARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    return found


class _WithoutHarness:
    """Finds no lm_eval, whether it is installed or not."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == "lm_eval":
            raise ModuleNotFoundError(f"No module named {name!r}", name="lm_eval")


def test_without_the_harness_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in sys.modules if name.partition(".")[0] == "lm_eval"]
    for name in [*names, "cuecard.integrations.lm_eval.harness_model"]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [_WithoutHarness(), *sys.meta_path])
    with pytest.raises(ConfigError, match="lm_eval") as refused:
        import_library("cuecard.integrations.lm_eval.harness_model")
    assert refused.value.expected == "pip install 'cuecard[lm-eval]'"


def answers(harness: Any, room: Path, model: str, rows: int, **args: Any) -> dict[str, Any]:
    """Each task's answers, row by row, the metrics, and what the harness keeps of the model."""
    import_library("cuecard.integrations.lm_eval.harness_model")
    tasks = import_library("lm_eval.tasks")
    manager = tasks.TaskManager(include_path=str(room / "tasks"), include_defaults=False)
    found = harness.simple_evaluate(
        model=model,
        model_args=args,
        tasks=[*TASKS],
        task_manager=manager,
        batch_size=rows,
        device="cpu",
    )
    samples = {
        name: [row["filtered_resps"] for row in sorted(rows, key=lambda row: row["doc_id"])]
        for name, rows in found["samples"].items()
    }
    return {"config": found["config"], "results": found["results"], **samples}


@pytest.mark.integration
@pytest.mark.parametrize("with_prompt", [False, True])
def test_it_agrees_with_the_harness_own_model(harness: Any, room: Path, with_prompt: bool) -> None:
    tiny, place = str(room / "tiny"), "reviews@production"
    given = {"prompt": place, "registry": str(room / "prompts")} if with_prompt else {}
    ours = answers(harness, room, "cuecard", 4, backbone=tiny, dtype="fp32", **given)
    adapter = {"peft": str(room / "prompt")} if with_prompt else {}
    # Where PEFT generates, rows of a padded batch do not get the positions that they have alone.
    theirs = answers(harness, room, "hf", 1, pretrained=tiny, dtype="float32", **adapter)
    for our, their in zip(ours["reviews"], theirs["reviews"], strict=True):
        for (score, greedy), (expected, flag) in zip(our, their, strict=True):
            assert float(score) == pytest.approx(float(expected), abs=1e-3) and greedy == flag
    assert ours["titles"] == theirs["titles"]
    for our, their in zip(ours["texts"], theirs["texts"], strict=True):
        assert our[0] == pytest.approx(their[0], abs=1e-2)
    for task, metric in (("reviews", "acc,none"), ("titles", "exact_match,none")):
        assert ours["results"][task][metric] == theirs["results"][task][metric]
    assert ours["config"]["cuecard_backbone"] == "tiny"
    if with_prompt:
        digest = Registry(str(room / "prompts")).resolve(place).record.digest
        assert ours["config"]["cuecard_prompt"] == digest
        bare = answers(harness, room, "cuecard", 4, backbone=tiny, dtype="fp32")
        assert bare["reviews"] != ours["reviews"] and bare["titles"] != ours["titles"]


@pytest.mark.integration
def test_the_commands_of_the_page(
    harness: Any,
    room: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(room)
    kept = []
    for number, command in enumerate(COMMANDS):
        words = shlex.split(command.replace("\\\n", "").replace(BENCHMARKS, "reviews"))
        place = words[words.index("--model_args") + 1]
        own = place.replace("smollm2-135m-instruct", "tiny")
        words[words.index(place)] = own if own != place else f"{place},backbone=tiny"
        out = tmp_path / str(number)
        words += ["--include_path", "tasks", "--output_path", str(out)]
        monkeypatch.setattr(sys, "argv", ["lm_eval", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0, capsys.readouterr().err
        (file,) = out.rglob("results_*.json")
        kept.append(json.loads(file.read_text()))
    prompt, bare = kept
    assert "cuecard_prompt" in prompt["config"] and "cuecard_prompt" not in bare["config"]
    assert all("acc,none" in each["results"]["reviews"] for each in kept)
    monkeypatch.setattr(sys, "argv", ["lm_eval", *words, "--model_args", "prompt=nothing"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "cuecard: " in capsys.readouterr().err


@pytest.mark.integration
def test_the_template_is_filled_as_where_the_prompt_answers(harness: Any, room: Path) -> None:
    """As the page's Python has it, with a task that is the text alone."""
    code = SCRIPT.replace('"runs/reviews"', '"prompt", backbone="tiny", template=True')
    code = code.replace('tasks=["lambada_openai"]', 'tasks=["plain"], task_manager=manager')
    assert code.count('"tiny"') == code.count("manager=") == 1
    tasks = import_library("lm_eval.tasks")
    plain = TASK.replace("task: reviews", "task: plain").replace(
        "Review: {{text}}\\nSentiment:", "{{text}}"
    )
    assert "Sentiment" not in plain
    (room / "plain").mkdir()
    rows = room / "reviews-test.jsonl"
    (room / "plain" / "plain.yaml").write_text(plain.replace(rows.name, str(rows)))
    names = {"manager": tasks.TaskManager(include_path=str(room / "plain"), include_defaults=False)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(room)
        exec(compile(code, "docs/lm-eval.md", "exec"), names)
        texts = [json.loads(line) for line in rows.read_text().splitlines()]
        bound = cuecard.load("prompt", backbone="tiny").bound
    expected = bound.predict([row["text"] for row in texts])
    found: Any = names["found"]
    for row, one in zip(found["samples"]["plain"], expected, strict=True):
        scores = [float(score) for score, _ in row["filtered_resps"]]
        assert scores == pytest.approx([*one.scores.values()], abs=2e-4)
    right = [one.answer == row["label"] for one, row in zip(expected, texts, strict=True)]
    assert found["results"]["plain"]["acc,none"] == pytest.approx(sum(right) / len(right))


def test_the_words_of_the_harness_are_read_or_refused(harness: Any, room: Path) -> None:
    def model(**args: Any) -> Any:
        found = import_library("cuecard.integrations.lm_eval.harness_model")
        return found.CuecardLM(backbone=backbone, **args)

    backbone = cuecard.load_backbone(room / "tiny", dtype="fp32")
    sizes = {None: 32, "auto": 32, "auto:4": 32, "3": 3, 5: 5}
    assert {given: model(batch_size=given).batch_rows for given in sizes} == sizes
    for size in ("many", 0, "-1"):
        with pytest.raises(ConfigError, match="number of rows"):
            model(batch_size=size)
    bare, turns = model(), [{"role": "user", "content": "a warm film"}]
    assert "a warm film" in bare.apply_chat_template(turns)
    backbone.tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="no chat template"):
        bare.apply_chat_template(turns)
