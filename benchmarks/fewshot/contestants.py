"""Who competes on a few rows of each label, and how each is trained.

A contestant that is trained at a rate is trained at each of three with the first seed's rows, and
keeps the one that does best on the validation rows: the same search for all. Pattern-exploiting
training and LM-BFF take the rate that their prompts have by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.methods.weights import full, trainer_of
from benchmarks.search.sets import ShotRows
from cuecard import LoraSettings, PromptTuning, PTuningV2, TrainConfig, train
from cuecard.artifacts import Prompt, SharedPrompt, shared_folder
from cuecard.artifacts.meta_init import MetaInit
from cuecard.errors import ConfigError
from cuecard.evaluation.baselines.manual import (
    ManualPrompt,
    default_manual_prompts,
    demonstration_counts,
    with_demonstrations,
)
from cuecard.evaluation.baselines.selection import select_manual
from cuecard.evaluation.baselines.text_models import Fitted, fit_tfidf, fit_vectors
from cuecard.evaluation.baselines.text_vectors import text_vectors
from cuecard.evaluation.ensemble import combine
from cuecard.evaluation.evaluate import evaluate
from cuecard.tasks import Task
from cuecard.tasks.text_features import text_of
from cuecard.training.few_shot.lm_bff import DemonstrationTraining
from cuecard.training.few_shot.patterns import words_of
from cuecard.training.few_shot.pet import PatternTraining
from cuecard.training.loop import run_loop, stopped_in
from cuecard.training.run import FinishedRun
from cuecard.training.storage.checkpoint import Checkpoint, State
from cuecard.training.storage.log import Observer
from cuecard.training.train_lora import train_lora
from cuecard.training.trainables.lora import merged
from cuecard.training.trainer import raise_if_diverged
from cuecard.types import Backbone, Prediction

TFIDF, EMBEDDINGS = "tf-idf + regression", "embeddings + regression"
BY_HAND, IN_CONTEXT = "by hand", "in-context"
TEXT, META, SHARED = "prompt, text", "prompt, meta", "prompt, MPT"
LATE, LATE_HEAD = "late p-tuning v2", "late p-tuning v2, head"
PET, LM_BFF, DART, LORA, FULL = "pet", "lm-bff", "dart", "lora", "full"

SHIPPED = "shipped"
LENGTH, LATE_LENGTH, RANK = 20, 8, 8
_FLUENCY = 0.1
_MOST_SHOWN, _COUNTS, _DRAWS = 8, 2, 2


@dataclass(frozen=True)
class Starts:
    """Files and folders that prompts start from; "" where a contestant is left out.

    Attributes:
        meta: of `cuecard meta-init`; `SHIPPED` for the one that is shipped for the backbone.
        shared: the folder of a multitask run.
    """

    meta: str = ""
    shared: str = ""

    def of(self, name: str) -> str | None:
        """What a contestant starts from; "" where it cannot start, None where it needs nothing."""
        return {META: self.meta, SHARED: self.shared}.get(name)


@dataclass(frozen=True)
class Entry:
    """What a contestant is given.

    Attributes:
        encoder: makes the sentence embeddings.
        config: how it is trained, without the rate.
        unlabelled: how many rows without labels there are for those that read them.
    """

    backbone: Backbone
    encoder: Callable[[], Backbone]
    rows: ShotRows
    config: TrainConfig
    starts: Starts
    unlabelled: int
    tell: Observer

    @property
    def task(self) -> Task:
        """Without test rows, which nothing that is trained may see."""
        return replace(self.rows.task, test=())


@dataclass(frozen=True)
class Outcome:
    """What it came to on the validation rows, and how it answers the test rows.

    Attributes:
        loss, accuracy: on the validation rows.
        trained: numbers trained.
        cpu_s: of all of it but the test.
        test: answers the test rows.
    """

    loss: float
    accuracy: float
    trained: int
    cpu_s: float
    test: Callable[[], Sequence[Prediction]]
    note: str = ""


Run = Callable[[Entry, float], Outcome]


@dataclass(frozen=True)
class Contestant:
    """How it runs, at which rates.

    Attributes:
        run: None where it is one of others.
        rates: those that the first seed tries; none where there is nothing to choose.
        rate_of: the contestant whose rate it takes.
        one_of: the contestants of whom it is, with each seed, the one with the best validation.
    """

    run: Run | None = None
    rates: tuple[float, ...] = ()
    rate_of: str = ""
    one_of: tuple[str, ...] = ()


def _tfidf(entry: Entry, rate: float) -> Outcome:
    task = entry.rows.task
    return _fitted(fit_tfidf(task.spec, task.train, task.validation, task.test))


def _embeddings(entry: Entry, rate: float) -> Outcome:
    task, began = entry.rows.task, time.process_time()
    parts = (task.train, task.validation, task.test)
    rows = [
        (part, text_vectors(entry.encoder(), [text_of(task.spec, record) for record in part]))
        for part in parts
    ]
    return _fitted(fit_vectors(task.spec, rows, "vectors", time.process_time() - began))


def _fitted(found: Fitted) -> Outcome:
    note = f"strength {found.strength:g}"
    return Outcome(
        0.0, found.score, found.nbytes // 4, found.cpu_seconds, lambda: found.predictions, note
    )


def _by_hand(entry: Entry, rate: float) -> Outcome:
    """The template as it is."""
    task = entry.rows.task
    seen = evaluate(entry.backbone, task.spec, task.validation)
    return Outcome(
        0.0, seen.score, 0, 0.0, lambda: evaluate(entry.backbone, task.spec, task.test).predictions
    )


def _in_context(entry: Entry, rate: float) -> Outcome:
    """Solved training rows in front: how many, which of two draws, and how read, by validation."""
    task, backbone, began = entry.task, entry.backbone, time.process_time()
    bare = ManualPrompt("template", task.spec.template)
    counts = [n for n in demonstration_counts(task.spec, task.train) if n <= _MOST_SHOWN]
    tried = with_demonstrations(
        bare, task.train, counts[-_COUNTS:], task.spec, entry.config.seed, draws=_DRAWS
    )
    choice = select_manual(backbone, task.spec, task.validation, tried)
    spent, test = time.process_time() - began, entry.rows.task.test
    return Outcome(
        0.0,
        choice.score,
        0,
        spent,
        lambda: evaluate(backbone, choice.spec, test, prior=choice.prior).predictions,
        f"{choice.manual.name}, {choice.variant}",
    )


def _prompt(method: Callable[[Starts], PromptTuning]) -> Run:
    def run(entry: Entry, rate: float) -> Outcome:
        began = time.process_time()
        found = train(
            entry.backbone,
            entry.task,
            method(entry.starts),
            _at(entry.config, rate),
            observer=entry.tell,
        )
        return _trained(entry, found, time.process_time() - began)

    return run


def _pet(entry: Entry, rate: float) -> Outcome:
    """Every prompt of the spec's own words that is nothing but a template is a pattern."""
    task, began = entry.task, time.process_time()
    hand = default_manual_prompts(task.spec, chat=False)
    training = PatternTraining(
        entry.backbone,
        task,
        entry.rows.unlabelled(entry.unlabelled, entry.config.seed),
        [manual.template for manual in hand if not manual.instruction],
        PromptTuning(),
        _at(entry.config, rate),
        observer=entry.tell,
    )
    found = training.run()
    outcome = _trained(entry, found.run, time.process_time() - began)
    return replace(outcome, note=f"{found.unlabelled} unlabelled rows")


def _lm_bff(entry: Entry, rate: float) -> Outcome:
    """A prompt from the task's text before sets of demonstrations; the mean of their answers."""
    began = time.process_time()
    training = DemonstrationTraining(
        entry.backbone, entry.task, PromptTuning(), _at(entry.config, rate), observer=entry.tell
    )
    found = training.run()

    def answers() -> Sequence[Prediction]:
        return combine([_answers(entry, run.prompt) for run in found.runs])

    best, seen = found.best, found.validation
    spent, note = time.process_time() - began, f"{len(found.runs)} sets"
    return Outcome(seen.loss, seen.accuracy or 0.0, best.trained, spent, answers, note)


def _dart(entry: Entry, rate: float) -> Outcome:
    """Vectors from the template's words, a head from the labels', and the fluency constraint."""
    began, task = time.process_time(), entry.task
    headed = replace(task, spec=task.spec.with_head("trained"))
    method = PromptTuning(text=words_of(task.spec.template))
    changes = {"lr": rate, "head_start": "words", "fluency": _FLUENCY}
    config = entry.config.model_copy(update=changes)
    found = train(entry.backbone, headed, method, config, observer=entry.tell)
    return _trained(entry, found, time.process_time() - began)


def _trained(entry: Entry, found: FinishedRun, spent: float) -> Outcome:
    return Outcome(
        found.validation.loss,
        found.validation.accuracy or 0.0,
        found.trained,
        spent,
        lambda: _answers(entry, found.prompt),
        f"step {found.best_step}",
    )


def _answers(entry: Entry, prompt: Prompt) -> Sequence[Prediction]:
    """Of the test rows, by a prompt."""
    slot, prior = prompt.manifest.slot, prompt.manifest.prior
    test, injection, head = entry.rows.task.test, prompt.injection(), prompt.head()
    found = evaluate(
        entry.backbone, prompt.spec, test, injection, slot=slot, prior=prior, head=head
    )
    return found.predictions


def _late(head: bool) -> Run:
    """Keys and values behind the inputs, as `--method auto` races them.

    Args:
        head: whether a pooled head tells the labels apart, or their words do.
    """

    def run(entry: Entry, rate: float) -> Outcome:
        began, task = time.process_time(), entry.task
        if head:
            task = replace(task, spec=task.spec.with_head("pooled"))
        method = PTuningV2(length=LATE_LENGTH, slot="infix", values_lr=rate)
        found = train(entry.backbone, task, method, entry.config, observer=entry.tell)
        return _trained(entry, found, time.process_time() - began)

    return run


def _lora(entry: Entry, rate: float) -> Outcome:
    began = time.process_time()
    settings, config = LoraSettings(rank=RANK), _at(entry.config, rate)
    found = train_lora(entry.backbone, entry.task, settings, config, observer=entry.tell)

    def answers() -> Sequence[Prediction]:
        with merged(entry.backbone, found.adapter):
            return _answers(entry, found.prompt)

    return replace(_trained(entry, found, time.process_time() - began), test=answers)


def _full(entry: Entry, rate: float) -> Outcome:
    """Every matrix of the model, asked by the template."""
    task, config, began = entry.task, _at(entry.config, rate), time.process_time()
    with full(entry.backbone) as (backbone, weights):
        trainer = trainer_of(backbone, task, weights, config, rate, State(), entry.tell)
        run_loop(
            [trainer],
            Checkpoint("", [trainer.state]),
            folder=None,
            every=config.steps,
            stopped=lambda: stopped_in("stopped", None, "make bench-fewshot"),
        )
        raise_if_diverged(trainer.state)
        count = sum(p.numel() for p in weights.parameters())
    state, spent = trainer.state, time.process_time() - began

    def answers() -> Sequence[Prediction]:
        with full(entry.backbone) as (backbone, weights):
            weights.load_state_dict(state.best)
            test, injection = entry.rows.task.test, weights.injection()
            found = evaluate(backbone, task.spec, test, injection, prior=state.best_prior)
            return found.predictions

    return Outcome(
        state.best_loss,
        state.best_accuracy or 0.0,
        count,
        spent,
        answers,
        f"step {state.best_step}",
    )


def _at(config: TrainConfig, rate: float) -> TrainConfig:
    return config.model_copy(update={"lr": rate})


def _of_init(init: str) -> Run:
    return _prompt(lambda starts: PromptTuning.model_validate({"init": init, "length": LENGTH}))


def _meta(starts: Starts) -> PromptTuning:
    if starts.meta == SHIPPED:
        return PromptTuning(init="meta")
    return PromptTuning(init="meta", prompt=MetaInit.load(starts.meta).vectors)


def _shared(starts: Starts) -> PromptTuning:
    """
    Raises:
        ConfigError: the folder has no shared prompt.
    """
    folder = shared_folder(starts.shared)
    if folder is None:
        raise ConfigError("there is no shared prompt in the folder", where=starts.shared)
    return PromptTuning(init="prompt", prompt=SharedPrompt.load(folder).start())


_OF_PROMPTS, _OF_VALUES = (3e-3, 1e-2, 3e-2), (2e-2, 5e-2, 1e-1)
_OF_LORA, _OF_WEIGHTS = (3e-4, 1e-3, 3e-3), (2e-5, 5e-5, 1.5e-4)

CONTESTANTS: Mapping[str, Contestant] = {
    TFIDF: Contestant(_tfidf),
    EMBEDDINGS: Contestant(_embeddings),
    BY_HAND: Contestant(_by_hand),
    IN_CONTEXT: Contestant(_in_context),
    "prompt, random": Contestant(_of_init("random"), _OF_PROMPTS),
    "prompt, vocabulary": Contestant(_of_init("vocabulary"), _OF_PROMPTS),
    TEXT: Contestant(_of_init("text"), _OF_PROMPTS),
    META: Contestant(_prompt(_meta), _OF_PROMPTS),
    SHARED: Contestant(_prompt(_shared), _OF_PROMPTS),
    LATE: Contestant(_late(head=False), _OF_VALUES),
    LATE_HEAD: Contestant(_late(head=True), _OF_VALUES),
    "late p-tuning v2, either": Contestant(one_of=(LATE, LATE_HEAD)),
    PET: Contestant(_pet, rate_of=TEXT),
    LM_BFF: Contestant(_lm_bff, rate_of=TEXT),
    DART: Contestant(_dart, _OF_PROMPTS),
    LORA: Contestant(_lora, _OF_LORA),
    FULL: Contestant(_full, _OF_WEIGHTS),
}
BASELINES = (TFIDF, EMBEDDINGS, BY_HAND, IN_CONTEXT, LORA, FULL)
"""What prompts are compared with."""
