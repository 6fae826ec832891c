"""A contest on a tiny backbone: what each contender comes to, once, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cuecard.backbones.quantization.weights import weight_bytes
from cuecard.comparison.contest.contender import Contest, Prepared
from cuecard.comparison.contest.contenders import CONTENDERS, chosen_contenders
from cuecard.comparison.contest.contenders.majority import Majority
from cuecard.comparison.contest.general_texts import GeneralTexts, general_texts
from cuecard.comparison.contest.rates import best_rate, rates_of
from cuecard.comparison.contest.result import ContestResult
from cuecard.comparison.contest.runner import ContestRunner, Ranked
from cuecard.errors import ConfigError, FrozenError, TrainingError
from cuecard.evaluation.report import plain
from cuecard.interrupts import TimeLimit
from cuecard.methods import PromptTuning
from cuecard.tasks import Task
from cuecard.training import TrainConfig
from cuecard.training.storage.checkpoint import Checkpoint
from cuecard.training.train import train_prompt
from cuecard.training.trainables.lora import LoraSettings
from support.data.head_tasks import number_task
from support.data.reviews import review_task
from support.dying import Killed, counted
from support.tiny import tiny_backbone

NAMES = ("majority", "tfidf", "embedding-lr", "zero-shot", "in-context", "start")
ON_LORA = "lora+prompt-tuning"
TRAINED = ("prompt-tuning", "p-tuning-v2", "lora", "lora+prompt", ON_LORA, "full")
CHANGING = ("lora", "lora+prompt", ON_LORA, "full")
CONFIG = TrainConfig(steps=4, batch_rows=4, eval_every=2)


def contest_of(
    backbone: Any,
    task: Task,
    folder: Path | None = None,
    tell: Callable[[Any], None] = lambda event: None,
) -> Contest:
    prompt, lora = PromptTuning(length=2, init="random"), LoraSettings(rank=2)
    return Contest(backbone, task, CONFIG, 2, prompt, lora, folder=folder, tell=tell)


def texts_of(backbone: Any) -> GeneralTexts:
    found = general_texts(backbone, None, 0)
    assert isinstance(found, GeneralTexts)
    return GeneralTexts(found.source, found.ids[:4])


def run(contest: Contest, *names: str, general: GeneralTexts | None = None) -> dict[str, Ranked]:
    found = ContestRunner(chosen_contenders(names), contest, general).run()
    return {each.standing.name: each for each in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Contest, dict[str, Ranked]]:
    """Every contender, run once in a folder."""
    backbone = tiny_backbone()
    contest = contest_of(backbone, review_task(60), tmp_path_factory.mktemp("contest"))
    return contest, run(contest, *NAMES, *TRAINED, general=texts_of(backbone))


def test_prompts_leave_the_weights_as_they_are(whole: tuple[Contest, dict[str, Ranked]]) -> None:
    contest, found = whole
    digest = contest.backbone.digest()
    for name, each in found.items():
        weights = each.standing.weights
        if name in ("majority", "tfidf", "embedding-lr"):
            assert weights is None
            continue
        assert weights is not None and weights.before == weights.after == digest
        assert weights.changed == (name in CHANGING)


def test_what_each_changes_and_costs(whole: tuple[Contest, dict[str, Ranked]]) -> None:
    contest, found = whole
    width = contest.backbone.hidden_size
    standings = {name: each.standing for name, each in found.items()}
    assert standings["prompt-tuning"].parameters == 2 * width
    assert standings["prompt-tuning"].nbytes == standings["start"].nbytes == 4 * 2 * width
    assert standings["lora"].nbytes == 4 * standings["lora"].parameters
    assert standings["zero-shot"].parameters == standings["start"].parameters == 0
    assert standings["tfidf"].parameters > 0
    switches = {name: one.switch for name, one in standings.items() if one.switch}
    assert {name for name, one in switches.items() if not one.mixes} == {*CHANGING}
    both = standings["prompt-tuning"], standings["lora"]
    for name in ("lora+prompt", ON_LORA):
        assert standings[name].parameters == sum(one.parameters for one in both)
        assert standings[name].nbytes == sum(one.nbytes for one in both)
    assert standings["lora+prompt"].facts["prompt"] == both[0].facts["digest"]
    assert standings[ON_LORA].facts["adapter"] == standings["lora"].facts["adapter"]
    assert standings[ON_LORA].facts["digest"] != both[0].facts["digest"]
    matrices = [p for p in contest.backbone.model.parameters() if p.ndim > 1]
    assert standings["full"].parameters == sum(p.numel() for p in matrices)
    assert standings["full"].nbytes == sum(p.nbytes for p in matrices)
    for name in TRAINED:
        losses = standings[name].facts["losses"]
        assert len(losses) == 2
        assert standings[name].facts["validation_loss"] == min(losses.values())
    assert all(one.peak_bytes is None or one.peak_bytes > 2**20 for one in standings.values())


def test_words_alone_forget_nothing(whole: tuple[Contest, dict[str, Ranked]]) -> None:
    _, found = whole
    lost = {name: each.standing.forgetting for name, each in found.items()}
    assert lost["zero-shot"] is not None and lost["zero-shot"].more == 0
    assert lost["prompt-tuning"] is not None and lost["prompt-tuning"].more != 0
    assert lost["lora"] is not None and lost["lora"].more != 0
    assert len({one.off for one in lost.values() if one is not None}) == 1


def test_a_search_may_run_what_prompt_tuning_runs(tmp_path: Path) -> None:
    backbone, config = tiny_backbone(), CONFIG.model_copy(update={"steps": 32, "eval_every": 8})
    contest = replace(contest_of(backbone, review_task(60), tmp_path), config=config)
    trained = run(contest, "prompt-tuning")["prompt-tuning"].standing.facts
    found = run(contest, "search")["search"]
    facts = found.standing.facts
    rates = len(trained["losses"])
    assert facts["tokens"] == pytest.approx(rates * trained["tokens_of_one_run"], rel=0.25)
    assert "1 round" in facts["effort"]
    # Stopped before its result was kept, it pays for no call twice: the journal has them.
    (tmp_path / "search" / "contestant.json").unlink()
    backbone.reset_counts()
    again = run(contest, "search")["search"]
    assert again.test is not None and found.test is not None
    assert again.test.metrics == found.test.metrics and again.standing.facts == facts
    tested = sum(
        len(contest.task.spec.encode(r, backbone.tokenizer).context) for r in contest.task.test
    )
    assert backbone.counts["tokens"] < 8 * tested
    few = run(contest_of(backbone, review_task(60)), "search")["search"]
    assert "too small to compare prompts" in str(few.standing.left_out)


def test_a_finished_contender_is_not_run_again(whole: tuple[Contest, dict[str, Ranked]]) -> None:
    contest, found = whole
    seen: list[dict[str, Any]] = []
    backbone = contest.backbone
    backbone.reset_counts()
    general = texts_of(backbone)
    backbone.reset_counts()
    again = run(replace(contest, tell=seen.append), *NAMES, *TRAINED, general=general)
    assert backbone.counts["tokens"] == 0
    assert {event["event"] for event in seen} == {"contestant_kept"}
    for name, each in again.items():
        assert plain(each.standing) == plain(found[name].standing)
        before = found[name].test
        assert each.test is not None and before is not None
        assert each.test.metrics == before.metrics


def test_another_task_is_not_taken_for_this_one(whole: tuple[Contest, dict[str, Ranked]]) -> None:
    contest, _ = whole
    with pytest.raises(TrainingError, match="another comparison"):
        run(replace(contest, task=review_task(80)), "tfidf")


def test_the_rows_of_the_table(whole: tuple[Contest, dict[str, Ranked]]) -> None:
    contest, found = whole
    table = ContestResult(contest.task, tuple(found.values()), price=3.6)
    facts = table.facts()
    assert list(facts["contestants"]) == [*NAMES, *TRAINED]
    best = max(("zero-shot", "in-context"), key=lambda name: found[name].standing.score or 0)
    assert facts["reference"] == best
    assert len(facts["pairs"]) == 12 * 11 / 2
    by_pair = {(one["a"], one["b"]): one for one in facts["pairs"]}
    own = facts["contestants"]["lora"]
    one = by_pair["lora", best]
    assert one["a_minus_b"] == own["gain_over_reference"]
    assert own["score"] - facts["contestants"][best]["score"] == pytest.approx(one["a_minus_b"])
    assert one["ci95"].low <= one["a_minus_b"] <= one["ci95"].high
    assert own["cost"] == pytest.approx(own["seconds"] / 1000)
    model = weight_bytes(contest.backbone.model)
    for name, one in facts["contestants"].items():
        shared = 0 if name in ("majority", "tfidf", "full") else model
        assert one["bytes_of_20_tasks"] == shared + 20 * one["bytes_per_task"]


def test_the_answers_do_not_depend_on_the_test_labels() -> None:
    task = review_task(60)
    wrong = {"positive": "negative", "negative": "positive"}
    turned = tuple(replace(row, target=wrong[str(row.target)]) for row in task.test)
    names = ("tfidf", "in-context", "start", "prompt-tuning", "lora", "full")
    one, other = (
        run(contest_of(tiny_backbone(), each), *names)
        for each in (task, replace(task, test=turned))
    )
    for name in names:
        a, b = one[name].test, other[name].test
        assert a is not None and b is not None
        assert [p.answer for p in a.predictions] == [p.answer for p in b.predictions]
        assert a.score == pytest.approx(1 - b.score)
        assert one[name].standing.score == other[name].standing.score


def test_each_rate_starts_from_the_same_numbers(tmp_path: Path) -> None:
    contest = contest_of(tiny_backbone(), review_task(60), tmp_path)
    setup = CONTENDERS["prompt-tuning"].setup(contest)
    assert setup is not None
    starts = []

    def train(made: Any, folder: Path | None) -> Any:
        starts.append(made.start.injection().vectors.detach().clone())
        return train_prompt(made, contest.prompt, folder=folder)

    tried = best_rate(contest, setup, train)
    assert len(starts) == 2 and starts[0].equal(starts[1])
    assert list(tried.losses) == rates_of(contest, setup)
    assert tried.best.validation.loss == min(filter(None, tried.losses.values()))
    only = replace(contest, config=CONFIG.model_copy(update={"lr": 0.01}))
    given = CONTENDERS["prompt-tuning"].setup(only)
    assert given is not None and rates_of(only, given) == [0.01]


def test_one_that_diverges_is_left_out(tmp_path: Path) -> None:
    wild = CONFIG.model_copy(update={"lr": 1e30, "clip": 0.0})
    contest = replace(contest_of(tiny_backbone(), review_task(60), tmp_path), config=wild)
    found = run(contest, "majority", "lora")
    assert "diverged at every learning rate" in str(found["lora"].standing.left_out)
    assert found["lora"].test is None and found["majority"].test is not None


def test_of_full_tuning_the_best_rates_weights_alone_are_kept(
    whole: tuple[Contest, dict[str, Ranked]],
) -> None:
    contest, found = whole
    assert contest.folder is not None
    losses = found["full"].standing.facts["losses"]
    kept = {}
    for folder in (contest.folder / "full").glob("lr-*"):
        checkpoint = Checkpoint.read(folder)
        assert checkpoint is not None
        kept[folder.name.removeprefix("lr-")] = bool(checkpoint.runs[0].best)
    assert kept == {rate: loss == min(losses.values()) for rate, loss in losses.items()}
    (contest.folder / "full" / "contestant.json").unlink()  # as if it was killed after that
    seen: list[dict[str, Any]] = []
    general = texts_of(contest.backbone)
    again = run(replace(contest, tell=seen.append), "full", general=general)["full"]
    assert not [event for event in seen if event["event"] == "step"]
    before = found["full"].test
    assert again.test is not None and before is not None
    assert again.test.metrics == before.metrics
    assert again.standing.forgetting == found["full"].standing.forgetting


def test_full_tuning_learns() -> None:
    config = CONFIG.model_copy(update={"steps": 12, "lr": 3e-3, "eval_every": 4})
    seen: list[dict[str, Any]] = []
    contest = contest_of(tiny_backbone(), review_task(120), tell=seen.append)
    found = run(replace(contest, config=config), "full")["full"]
    losses = [e["validation_loss"] for e in seen if e["event"] == "validation"]
    assert len(losses) == 4
    assert found.standing.facts["validation_loss"] == min(losses) < 0.8 * losses[0]


def test_what_a_kind_cannot_do_is_left_out() -> None:
    found = run(contest_of(tiny_backbone(), number_task(60)), "majority", "zero-shot", "tfidf")
    assert found["tfidf"].test is not None
    assert "not asked in words" in str(found["zero-shot"].standing.left_out)


def test_a_killed_contest_goes_on(tmp_path: Path) -> None:
    """Killed in LoRA's second rate: the prompt and the first rate are not trained again."""
    task = review_task(60)
    straight = run(contest_of(tiny_backbone(), task), "prompt-tuning", "lora")
    seen: list[dict[str, Any]] = []
    backbone = tiny_backbone()
    left = counted(backbone, 10**6)

    def tell(event: dict[str, Any]) -> None:
        seen.append(event)
        rates = [e for e in seen if e["event"] == "rate" and e["contestant"] == "lora"]
        if len(rates) == 2 and event["event"] == "validation":
            left[0] = 1

    with pytest.raises(Killed):
        run(contest_of(backbone, task, tmp_path, tell), "prompt-tuning", "lora")
    seen.clear()
    resumed = tiny_backbone()
    again = run(contest_of(resumed, task, tmp_path, seen.append), "prompt-tuning", "lora")
    kept = [event for event in seen if event["event"] == "contestant_kept"]
    assert [event["contestant"] for event in kept] == ["prompt-tuning"]
    steps = [event for event in seen if event["event"] == "step"]
    assert {event["contestant"] for event in steps} == {"lora"}
    assert len(steps) <= CONFIG.steps
    for name, each in straight.items():
        other = again[name]
        assert each.test is not None and other.test is not None
        assert each.test.metrics == other.test.metrics
        assert each.standing.facts["losses"] == other.standing.facts["losses"]


def test_time_ends_a_contest_and_it_goes_on(tmp_path: Path) -> None:
    """Over after LoRA's second step: the first one is tested, and no other one begins."""
    task, names = review_task(60), ("prompt-tuning", "lora", "zero-shot")
    straight = run(contest_of(tiny_backbone(), task), *names)
    seen: list[dict[str, Any]] = []

    def now() -> float:
        steps = [e for e in seen if e["event"] == "step" and e["contestant"] == "lora"]
        return float(len(steps))

    contest = contest_of(tiny_backbone(), task, tmp_path, seen.append)
    limit = TimeLimit(2, now)
    found = ContestRunner(chosen_contenders(names), contest, None, limit=limit).run()
    assert [each.standing.name for each in found] == ["prompt-tuning"]
    waits = [e["contestant"] for e in seen if e["event"] == "contestant_waits"]
    assert waits == ["lora", "zero-shot"] and now() == 2
    seen.clear()
    again = run(contest_of(tiny_backbone(), task, tmp_path, seen.append), *names)
    resumed = [e for e in seen if e["event"] == "resume"]
    assert [(e["contestant"], e["step"]) for e in resumed] == [("lora", 2)]
    for name, each in straight.items():
        kept = again[name].test
        assert each.test is not None and kept is not None
        assert each.test.metrics == kept.metrics


def test_time_cuts_off_what_is_asked_in_words(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    contest = contest_of(tiny_backbone(), review_task(60), tmp_path, seen.append)
    limit = TimeLimit(2, lambda: float(sum(e["event"] == "candidate" for e in seen)))
    given = chosen_contenders(("majority", "in-context", "tfidf"))
    found = ContestRunner(given, contest, None, limit=limit).run()
    assert [each.standing.name for each in found] == ["majority"]
    assert sum(e["event"] == "candidate" for e in seen) == 2
    assert not (tmp_path / "in-context").exists()


def test_a_race_makes_the_steps_of_all_rates(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    contest = contest_of(tiny_backbone(), review_task(60), tmp_path, seen.append)
    found = run(contest, "auto", "prompt-tuning")
    race, tuned = (found[name].standing for name in ("auto", "prompt-tuning"))
    assert race.weights is not None and not race.weights.changed
    assert race.switch is not None and race.switch.mixes
    (told,) = [e for e in seen if e["event"] == "race"]
    assert told["budget"] == f"{2 * CONFIG.steps} steps" and told["contestant"] == "auto"
    assert told["set_by"] == "training.steps"
    (best,) = [e for e in seen if e["event"] == "chosen"]
    assert best["contestant"] == "auto" and best["candidate"] in told["contestants"]
    assert race.facts["method"] and race.facts["steps"] <= 2 * CONFIG.steps
    assert race.facts["digest"] != tuned.facts["digest"]
    given = replace(contest, config=CONFIG.model_copy(update={"lr": 0.01}), folder=None)
    assert "chooses the learning rate" in str(run(given, "auto")["auto"].standing.left_out)


def test_a_contender_that_leaves_the_backbone_changed_is_refused() -> None:
    backbone = tiny_backbone()

    class Spoils(Majority):
        def prepare(self, contest: Contest) -> Prepared:
            found = CONTENDERS["zero-shot"].prepare(contest)
            weight = backbone.model.get_output_embeddings().weight

            def spoilt() -> Any:
                weight.data += 1
                return found.loaded()  # type: ignore[misc]

            return replace(found, loaded=spoilt)

    runner = ContestRunner({"spoils": Spoils()}, contest_of(backbone, review_task(60)), None)
    with pytest.raises(FrozenError, match="changed in a comparison"):
        runner.run()


def test_a_misspelt_name_is_told() -> None:
    with pytest.raises(ConfigError) as error:
        chosen_contenders(["majority", "lorra"])
    assert "lora" in str(error.value)
