"""Where runs that extract have their texts, types and prompts from."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuecard.errors import ConfigError, CuecardError, FileError, Interrupted, LLMError
from cuecard.runs.folder import RunFolder
from cuecard.runs.graphrag.asking import sitting
from cuecard.runs.graphrag.dataset_recipe import DatasetRecipe
from cuecard.runs.graphrag.measure_recipe import MeasureRecipe
from cuecard.runs.graphrag.optimise_recipe import OptimiseRecipe
from cuecard.search.budget import BudgetSpent
from support.extraction_texts import save_corpus, save_gold

SETTINGS = """\
chunking: {size: 4, overlap: 1}
extract_graph:
  entity_types: [person, ship]
  prompt: own.txt
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    save_corpus(root / "input", 4)
    (root / "settings.yaml").write_text(SETTINGS)
    (root / "own.txt").write_text("Own: {input_text}")
    return root


def test_a_projects_texts_and_types(root: Path) -> None:
    plan = MeasureRecipe(root=str(root))
    texts = plan.read_texts()
    assert not texts.labelled
    documents = [each.document for each in texts.texts]
    assert sorted(set(documents)) == ["000.txt", "001.txt", "002.txt", "003.txt"]
    assert len(documents) > 4  # four tokens each
    settings = plan.settings(texts)
    assert (settings.types, settings.runs) == (("person", "ship"), 2)
    whole = MeasureRecipe(root=str(root), chunk_size=50, types=("town",), limit=3)
    assert len(whole.read_texts().texts) == 3
    assert whole.settings(texts).types == ("town",)
    # The pattern is for the project's own input.
    settings = (root / "settings.yaml").read_text()
    (root / "settings.yaml").write_text(f"{settings}input:\n  file_pattern: '000.*'\n")
    own = MeasureRecipe(root=str(root)).read_texts().texts
    assert {each.document for each in own} == {"000.txt"}
    save_corpus(root / "elsewhere", 2)
    (root / "elsewhere" / "000.txt").unlink()
    others = MeasureRecipe(root=str(root), corpus=str(root / "elsewhere")).read_texts().texts
    assert {each.document for each in others} == {"001.txt"}


def test_golds_types(tmp_path: Path, root: Path) -> None:
    gold = str(save_gold(tmp_path / "gold.jsonl", 4))
    plan = MeasureRecipe(gold=gold, root=str(root), type_names={"place": "town"})
    texts = plan.read_texts()
    assert plan.settings(texts).types == ("person", "town") == texts.types
    assert plan.settings(texts).runs == 1
    with pytest.raises(ConfigError, match="types are renamed where gold"):
        MeasureRecipe(root=str(root), type_names={"place": "town"}).read_texts()


def test_a_projects_prompts(tmp_path: Path, root: Path) -> None:
    plan = OptimiseRecipe(root=str(root))
    assert plan.prompt_or_best(None).template == "Own: {input_text}"
    tuned = root / "prompts" / "tuned"
    tuned.mkdir(parents=True)
    (tuned / "extract_graph_json.txt").write_text("JSON: {input_text}")
    found = plan.prompt_or_best(None)
    assert (found.template, found.form) == ("JSON: {input_text}", "json")
    (tuned / "extract_graph.txt").write_text("Tuned: {input_text}")
    assert plan.prompt_or_best(None).template == "Tuned: {input_text}"
    (tmp_path / "mine.txt").write_text("Mine: {input_text}")
    assert plan.prompt_or_best(str(tmp_path / "mine.txt")).template == "Mine: {input_text}"
    names = [each.name for each in MeasureRecipe(root=str(root)).read_prompts()]
    assert names == ["generic", "project", "tuned", "tuned-json"]
    (root / "settings.yaml").write_text("extract_graph: {prompt: prompts/tuned/extract_graph.txt}")
    names = [each.name for each in MeasureRecipe(root=str(root)).read_prompts()]
    assert names == ["generic", "project", "tuned-json"]
    bare = DatasetRecipe(corpus=str(root / "input"))
    assert bare.prompt_or_best(None).name == "generic"


def test_a_project_whose_prompt_is_gone(root: Path) -> None:
    (root / "own.txt").unlink()
    with pytest.raises(FileError, match="cannot be read"):
        MeasureRecipe(root=str(root)).read_prompts()


def test_paths_that_a_resumed_run_needs(root: Path) -> None:
    plan = MeasureRecipe(
        corpus="texts", prompts={"a": "a.txt"}, prompt_folders={"s": "soft"}, backbone="b"
    )
    assert plan.paths == ("texts", "a.txt", "soft", "b")


@pytest.mark.parametrize(
    ("raised", "kind", "told"),
    [
        (KeyboardInterrupt(), Interrupted, "hint: go on with: {resume}"),
        (BudgetSpent("calls"), ConfigError, "where: --budget"),
        (ConfigError("too small", where="--search-budget"), ConfigError, "where: --budget"),
        (ConfigError("wrong", where="--out"), ConfigError, "where: --out"),
        (LLMError("silent"), LLMError, "hint: answers are kept; once it answers: {resume}"),
        (LLMError("no key", hint="get one"), LLMError, "hint: get one"),
    ],
)
def test_what_ends_a_sitting_says_how_to_go_on(
    tmp_path: Path, raised: BaseException, kind: type[CuecardError], told: str
) -> None:
    place = RunFolder(tmp_path / "m", MeasureRecipe)
    with pytest.raises(kind) as caught, sitting(place):
        raise raised
    resume = f"cuecard graphrag measure --resume {tmp_path / 'm'}"
    assert told.format(resume=resume) in str(caught.value)
