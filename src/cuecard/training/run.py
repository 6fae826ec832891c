"""A trained method becomes a run: tested once on the sealed rows, and kept in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from cuecard.artifacts import Prompt
from cuecard.artifacts.manifest import ParametersEntry
from cuecard.artifacts.seen_rows import RowsEntry
from cuecard.artifacts.tensors import tensors_of
from cuecard.backbones.quantization.weights import weight_count
from cuecard.evaluation.advice import advice
from cuecard.evaluation.evaluate import Evaluation, evaluate
from cuecard.evaluation.metric_tables import evaluation_html
from cuecard.evaluation.report import plain
from cuecard.evaluation.together import AskedPrompt
from cuecard.html_tables import html_facts, html_notes, html_view
from cuecard.interrupts import may_cut
from cuecard.lazy import torch
from cuecard.tasks import Task, draw_rows
from cuecard.training.alongside import Alongside, test_alongside
from cuecard.training.objective.validation import Validation
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.checkpoint import State
from cuecard.training.storage.log import RunLog
from cuecard.training.storage.result import NUMBERS, Result, load_result, result_of, save_result
from cuecard.training.trainables.head import head_of
from cuecard.types import Backbone, HasLabelTower, Head, Method, MethodConfig

# A prompt this close to always giving one answer has learnt nothing.
_MARGIN = 0.01


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What every finished run has.

    Attributes:
        prompt: the prompt of the best validation step, with its metrics.
        validation: its validation score and loss.
        test: its evaluation on the sealed test rows; None where the task has none.
        lr: the peak learning rate that was used.
        steps, best_step: how far it went, and where the prompt comes from.
        trained: how many numbers were trained.
        cpu_seconds, seconds: of the training, validations included, over all its sittings.
        alarm: what looks wrong, in a sentence; None if nothing does.
        folder: the run's folder; None if nothing was kept.
        tokens: run forward by the training, validations included; those of optimizer steps count
            twice, for the backward pass.
    """

    prompt: Prompt
    validation: Validation
    test: Evaluation | None
    lr: float
    steps: int
    best_step: int
    trained: int
    cpu_seconds: float
    seconds: float
    alarm: str | None
    folder: Path | None
    tokens: int

    def _repr_html_(self) -> str:
        """A notebook's view: how it went, and its test."""
        seen, manifest = self.validation, self.prompt.manifest
        right = "" if seen.accuracy is None else f"accuracy {seen.accuracy:.3f}, "
        facts = [
            ("trained", f"{manifest.method} on {manifest.backbone.name}, {self.trained:,} numbers"),
            ("steps", f"{self.steps:,}, the best after {self.best_step:,}"),
            ("learning rate", f"{self.lr:.3g}"),
            ("validation", f"{right}loss {seen.loss:.4f}"),
            ("CPU time", f"{self.cpu_seconds:,.1f} s"),
            ("prompt", f"{self.prompt.nbytes:,} bytes"),
            ("folder", "" if self.folder is None else str(self.folder)),
        ]
        shown = html_facts((name, said) for name, said in facts if said)
        alarm = () if self.alarm is None else (self.alarm,)
        test = "" if self.test is None else evaluation_html(self.test)
        return html_view("Run", shown, html_notes(alarm), test)


@dataclass(frozen=True, kw_only=True)
class Run(FinishedRun):
    """A finished run of a prompt.

    Attributes:
        method: the method's settings.
        start_prior: what the calibration of its untrained start takes off the labels' scores; None
            without calibration.
        alongside: what answered the test rows in the same pass; None for nothing.
    """

    method: MethodConfig
    start_prior: Mapping[str, float] | None
    alongside: Alongside | None = None


class Tested(NamedTuple):
    """A prompt, its evaluation on the sealed test rows, and what was asked alongside."""

    prompt: Prompt
    test: Evaluation | None
    alongside: Alongside | None


@dataclass(frozen=True)
class Trained:
    """A method that holds its best step, and how it got there; not tested yet.

    Attributes:
        setup: what it started from.
        method: what was trained.
        state: where the training ended.
        log: the run's.
        folder: the run's; None keeps nothing.
    """

    setup: TrainSetup
    method: Method
    state: State
    log: RunLog
    folder: Path | None

    def best(self) -> Validation:
        """The best step's validation, on all labels even where those of the training were brief.

        Raises:
            Stop: Ctrl-C.
        """
        setup, state = self.setup, self.state
        best = Validation(state.best_loss, state.best_accuracy, prior=state.best_prior)
        if best.accuracy is not None or not setup.spec.task_kind.single_label:
            return best
        rows = draw_rows(setup.task.validation, setup.validations.rows, "best")
        with may_cut():
            counted = self.log.count("validating", len(rows))
            found = setup.validate(self.method, rows, brief=False, on_rows=counted)
        self.log.write(
            "best_validation",
            step=state.best_step,
            validation_loss=found.loss,
            validation_accuracy=found.accuracy,
            majority_share=found.majority_share,
            labels=len(setup.spec.labels),
            rows=len(rows),
        )
        return replace(found, rows=len(rows))

    def tested(self, best: Validation, *, alongside: bool = False, **origin: Any) -> Tested:
        """Test the method on the sealed rows, and make its prompt.

        Args:
            alongside: let others answer them in the same pass where that is cheap.
            origin: the prompt's `method`, `method_config` and `seed`.

        Raises:
            Stop: Ctrl-C during the test.
        """
        setup, task = self.setup, self.setup.task
        injection, head = self.method.injection(), head_of(self.method)
        asked = AskedPrompt(
            setup.spec, injection, setup.slot, best.prior if setup.config.calibrate else None
        )
        test, others = self._test(asked, head, alongside=alongside) if task.test else (None, None)
        counts = count_parameters(setup.backbone, self.method)
        counted = setup.unrun if head is not None and head.tfidf is not None else ()
        prompt = Prompt.create(
            injection,
            head=head,
            backbone=setup.backbone,
            spec=setup.spec,
            slot=setup.slot,
            data_hash=task.report.data_hash,
            rows=RowsEntry.of((*task.train, *counted), task.validation),
            parameters=ParametersEntry(
                trained=counts["trained_parameters"], total=counts["parameters"]
            ),
            metrics=_metrics(task, best, test),
            prior=asked.prior,
            **origin,
        )
        return Tested(prompt, test, others)

    def _test(
        self, asked: AskedPrompt, head: Head | None, *, alongside: bool
    ) -> tuple[Evaluation, Alongside | None]:
        setup, test = self.setup, self.setup.task.test
        self.log.write("test", rows=len(test))
        on_rows = self.log.count("testing", len(test))
        with may_cut():
            if alongside and head is None:
                prior = self.start_prior
                found = test_alongside(setup, asked, prior, self.state.tokens, on_rows)
                if found is not None:
                    return found
            alone = evaluate(
                setup.backbone,
                setup.spec,
                test,
                asked.injection,
                slot=setup.slot,
                prior=asked.prior,
                seed=setup.config.seed,
                head=head,
                on_rows=on_rows,
            )
        return alone, None

    @property
    def start_prior(self) -> Mapping[str, float] | None:
        """What the calibration of the untrained start takes off the labels' scores, if any."""
        return self.state.start_prior if self.setup.config.calibrate else None

    def outcome(self, prompt: Prompt, best: Validation, test: Evaluation | None) -> dict[str, Any]:
        """The fields of a `FinishedRun`."""
        state = self.state
        return {
            "prompt": prompt,
            "validation": best,
            "test": test,
            "lr": float(state.lr or 0.0),
            "steps": state.step,
            "best_step": state.best_step,
            "trained": count_parameters(self.setup.backbone, self.method)["trained_parameters"],
            "cpu_seconds": state.cpu_seconds,
            "seconds": state.wall_seconds,
            "alarm": alarm_for(self.setup.task, best),
            "folder": self.folder,
            "tokens": round(state.tokens),
        }

    def found(self) -> tuple[Result, dict[str, Any]] | None:
        """What the folder has of the run; None unless it was finished, with these very numbers.

        Returns:
            The result, and the fields of a `FinishedRun`.
        """
        task = self.setup.task
        found = load_result(self.folder, task, self.setup.backbone.tokenizer)
        if found is None:
            return None
        result, prompt, test = found
        ours = tensors_of(self.method.injection(), head_of(self.method))
        same = ours.keys() == prompt.tensors.keys() and all(
            torch.equal(tensor, prompt.tensors[name]) for name, tensor in ours.items()
        )
        if not same or prompt.manifest.data_hash != task.report.data_hash:
            return None
        best = result.best()
        return result, {
            "prompt": prompt,
            "validation": best,
            "test": test,
            "alarm": alarm_for(task, best),
            "folder": self.folder,
            **{name: getattr(result, name) for name in NUMBERS},
        }

    def keep(self, run: FinishedRun, digest: str, **more: Any) -> None:
        """Save the prompt, end the log, and save the result so that nothing is tested again.

        Args:
            digest: of what was trained.
            more: further fields of the log's last event.
        """
        if self.folder is not None:
            run.prompt.save(self.folder / "prompt", overwrite=True)
        self.log.write(
            "done",
            **more,
            step=run.steps,
            best_step=run.best_step,
            lr=run.lr,
            digest=digest,
            cpu_seconds=round(run.cpu_seconds, 2),
            seconds=round(run.seconds, 2),
            alarm=run.alarm,
            **({} if run.test is None else {"test": run.test.score}),
        )
        if self.folder is not None:
            save_result(result_of(run, self.setup.config.seed), run.test, self.folder)


def finish_run(trained: Trained, method: MethodConfig, *, alongside: bool = False) -> Run:
    """Test a prompt's method at its best step, once, and save the prompt.

    A folder that has both already is not tested again.

    Args:
        alongside: as in `train`.

    Raises:
        Stop: Ctrl-C during the test.
    """
    run = find_run(trained, method)
    if run is not None:
        trained.log.tell("finished", folder=str(trained.folder), digest=run.prompt.digest)
        return run
    config, best = trained.setup.config, trained.best()
    settings = method.model_dump(mode="json")
    if method.rate is not None:
        settings[method.rate] = trained.state.lr
    prompt, test, others = trained.tested(
        best, alongside=alongside, method=method.name, method_config=settings, seed=config.seed
    )
    run = Run(
        **trained.outcome(prompt, best, test),
        method=method,
        start_prior=trained.start_prior,
        alongside=others,
    )
    if others is not None and trained.folder is not None:
        others.save(trained.folder, prompt.digest)
    trained.keep(run, prompt.digest)
    return run


def finish_share(
    trained: Trained, method: MethodConfig, count: int, score: Callable[[], Validation]
) -> Run:
    """`finish_run` of one of several runs that were trained together.

    Args:
        trained: with the state that they share.
        count: how many they are: each has an equal share of what was spent.
        score: validates this one alone, at the best step.

    Raises:
        Stop: Ctrl-C during the validation or the test.
    """
    if find_run(trained, method) is None:
        with may_cut():
            found = score()
        shared = trained.state
        own = replace(
            shared,
            best_loss=found.loss,
            best_accuracy=found.accuracy,
            best_prior=found.prior,
            cpu_seconds=shared.cpu_seconds / count,
            wall_seconds=shared.wall_seconds / count,
            tokens=shared.tokens / count,
        )
        trained = replace(trained, state=own)
    return finish_run(trained, method)


def find_run(trained: Trained, method: MethodConfig) -> Run | None:
    """The run as its folder has it; None unless it was finished, with these very numbers."""
    found = trained.found()
    if found is None:
        return None
    result, fields = found
    digest, task = fields["prompt"].digest, trained.setup.task
    others = Alongside.load(trained.folder, task, digest, result.seed)
    return Run(**fields, method=method, start_prior=result.start_prior, alongside=others)


def log_start(log: RunLog, setup: TrainSetup, method: Method, **more: Any) -> None:
    """The first events of a run's log."""
    task, backbone = setup.task, setup.backbone
    notes = advice(task)
    log.write(
        "start",
        backbone=backbone.name,
        device=str(backbone.device),
        dtype=str(backbone.dtype).removeprefix("torch."),
        method=setup.trainable.name,
        steps=setup.config.steps,
        rows={name: len(getattr(task, name)) for name in ("train", "validation", "test")},
        truncated=sum(row.cut > 0 for row in setup.rows),
        loss=setup.loss,
        **count_parameters(backbone, method),
        config=setup.config.model_dump(mode="json"),
        **({"notes": list(notes)} if notes else {}),
        **({"processes": setup.ranks.size} if setup.ranks.size > 1 else {}),
        **({"sharded": True} if setup.ranks.shards else {}),
        **more,
    )
    if setup.activations.recompute:
        log.write("activations", **asdict(setup.activations))


def count_parameters(backbone: Backbone, trained: Method) -> dict[str, int]:
    """How many numbers are trained, and how many there are with the frozen ones."""
    count = sum(parameter.numel() for parameter in trained.parameters())
    model = backbone.whole if isinstance(backbone, HasLabelTower) else backbone.model
    return {"trained_parameters": count, "parameters": weight_count(model) + count}


def alarm_for(task: Task, best: Validation) -> str | None:
    """A prompt that answers no better than the most common label has not learnt the task."""
    if best.accuracy is None or not task.spec.task_kind.single_label:
        return None
    gold = [*map(task.spec.label_of, task.validation)]
    majority = max(gold.count(label) for label in set(gold)) / len(gold)
    if best.accuracy > majority + _MARGIN:
        return None
    return (
        f"validation accuracy {best.accuracy:.3f} is no better than always giving the most common "
        f"label ({majority:.3f}); try another --lr, another init, or more rows"
    )


def _metrics(task: Task, best: Validation, test: Evaluation | None) -> dict[str, Any]:
    """What the prompt's folder says of its quality; no clocks, which would change its digest."""
    rows = best.rows or len(task.validation)
    seen = {"rows": rows, "loss": best.loss, "accuracy": best.accuracy}
    if test is None:
        return {"validation": seen}
    found = {"rows": len(task.test), test.primary: test.score, "ci95": plain(test.ci95)}
    return {"validation": seen, "test": found}
