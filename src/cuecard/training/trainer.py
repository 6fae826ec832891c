"""One prompt in training: its batches, its optimiser, its log and its state."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

from cuecard.errors import TrainingError
from cuecard.interrupts import Stop, may_cut
from cuecard.lazy import torch
from cuecard.training.batches import TaskBatches
from cuecard.training.heads.pooled_head import ReaderWeights, pool
from cuecard.training.objective.validation import Validation
from cuecard.training.optim import lr_share, make_optimizer, set_lr
from cuecard.training.setup import TrainSetup
from cuecard.training.storage.checkpoint import State
from cuecard.training.storage.log import RunLog
from cuecard.training.trainables.head import drawn_injection, follow_step, head_of, held_to
from cuecard.types import Method

Prune = Callable[[State], bool]


@dataclass(frozen=True, slots=True)
class _Pooled:
    """A best step whose head is pooled: a method's state, its validation, the readers' weights."""

    state: dict[str, Any]
    validation: Validation
    weights: ReaderWeights


class Trainer:
    """One of the prompts that `run_loop` trains together.

    Args:
        setup: the backbone, the rows and the settings.
        method: what is trained.
        lr: the peak learning rate; that of the checkpoint where the state has one.
        score: scores the method as it is now; by default on the set-up's validation rows.
        state: where to start: fresh, or from a checkpoint.
        prune: asked after a validation whether to stop early.
        batches: where the rows come from; by default the set-up's rows alone. Several tasks that
            share the method's parameters have batches each, and weigh alike.
        drawn: step -> the numbers of the tasks that it has batches of; by default all.

    Raises:
        ConfigError: a learning rate that is not a positive number.
    """

    def __init__(
        self,
        setup: TrainSetup,
        method: Method,
        lr: float,
        state: State,
        log: RunLog,
        *,
        score: Callable[[], Validation] | None = None,
        prune: Prune | None = None,
        batches: Sequence[TaskBatches] = (),
        drawn: Callable[[int], Sequence[int]] | None = None,
    ) -> None:
        self.setup, self.method, self.state = setup, method, state
        self._score = score or (lambda: setup.validate(method))
        self._log, self._prune = log, prune
        groups = method.groups()
        self._optimizer = make_optimizer(setup.config, lr, groups, setup.backbone.typical_inputs)
        # What is reported is the rate of what the method chiefly learns with.
        self._main = next((i for i, group in enumerate(groups) if group.lr is None), 0)
        if state.method:
            method.load_state_dict(state.method)
            self._optimizer.load_state_dict(state.optimizer)
        state.lr = self.lr
        self._drawn = drawn
        self._all = self.batches = tuple(batches) or (
            TaskBatches(
                setup,
                partial(drawn_injection, method),
                state,
                head=partial(head_of, method),
                held=held_to(method),
            ),
        )

    @property
    def lr(self) -> float:
        """The peak learning rate."""
        return float(self._group["peak"])

    @property
    def _group(self) -> dict[str, Any]:
        """The optimiser's group that learns at the run's rate."""
        group: dict[str, Any] = self._optimizer.param_groups[self._main]
        return group

    @property
    def finished(self) -> bool:
        """Whether it trains no more."""
        return self.state.ended is not None

    @property
    def started(self) -> bool:
        """Whether its first parameters have been validated."""
        return self.state.best_step >= 0

    @property
    def should_validate(self) -> bool:
        """Whether a validation follows this step."""
        step = self.state.step
        return step % self.setup.validations.every == 0 or step == self.setup.config.steps

    @property
    def missed_validation(self) -> bool:
        """Whether it was stopped between a step and the validation that follows it."""
        if not self.started or self.finished or not self.should_validate:
            return False
        return self.state.validations[-1][0] != self.state.step

    def begin_step(self) -> int:
        """Draw the next step's batches, clear gradients, set the rate; how many passes it takes."""
        config = self.setup.config
        set_lr(self._optimizer, lr_share(self.state.step, config))
        self._optimizer.zero_grad(set_to_none=True)
        if self._drawn is not None:
            self.batches = tuple(self._all[number] for number in self._drawn(self.state.step))
        for batches in self.batches:
            batches.begin_step()
        return config.accumulation

    def weighted(self, losses: Sequence[torch.Tensor]) -> torch.Tensor:
        """The tasks' summed losses of one pass as their share of the step's loss."""
        pairs = zip(self.batches, losses, strict=True)
        return torch.stack([batches.weighted(loss) for batches, loss in pairs]).mean()

    def end_step(self, seconds: float) -> None:
        """Clip, step and log; a loss or gradient that is not finite ends this run alone."""
        state, ranks = self.state, self.setup.ranks
        losses = [one.loss for one in self.batches]
        losses = ranks.sum_gradients([*self.method.parameters()], losses)
        loss = sum(losses) / len(losses)
        penalty = self.method.penalty()  # followed, but not counted into the loss
        if penalty is not None:
            penalty.backward()  # type: ignore[no-untyped-call]
        clip = self.setup.config.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.method.parameters(), clip)
        if not (math.isfinite(loss) and bool(torch.isfinite(norm))):
            error = _diverged(state, loss if math.isfinite(norm) else math.nan, self._group["lr"])
            state.ended, state.error = "diverged", error.to_dict()
            return
        self._optimizer.step()
        state.step += 1
        follow_step(self.method, state.step, self.setup.config.steps)
        self._log.write(
            "step",
            step=state.step,
            loss=loss,
            lr=self._group["lr"],
            grad_norm=float(norm),
            targets=sum(one.targets for one in self.batches),
            seconds=round(seconds, 4),
            **ranks.spent(),
        )

    def validate(self) -> None:
        """Validate, keep the best state, decide whether to stop.

        Raises:
            Stop: Ctrl-C; nothing has changed.
        """
        state, select, pools = self.state, self.setup.config.select, self._pools
        ranks = self.setup.ranks
        ranks.copy([*self.method.parameters()])
        logged = self._log.size()
        try:
            found = ranks.same(self._cuttable_score)
            better = state.best_step < 0 or found.score(select) > state.best_score
            ended = self._end(better=better)
            with may_cut():
                pooled = self._pooled(better=better) if ended and pools else None
        except Stop:
            self._log.cut(logged)
            raise
        self._note(found, better=better)
        state.ended = ended
        if not ended and self._prune is not None and self._prune(state):
            state.ended = "pruned"
            # It may be the best all the same.
            pooled = self._pooled(better=better) if pools else None
        if pooled is not None:
            self._keep(pooled.state, pooled.validation)
            self._log_pooled(pooled)

    def _cuttable_score(self) -> Validation:
        with may_cut():
            return self._score()

    def _note(self, found: Validation, *, better: bool) -> None:
        """Log a validation, and keep what is better than all before."""
        state, score = self.state, found.score(self.setup.config.select)
        if better:
            self._keep(deepcopy(self.method.state_dict()), found)
            state.best_step, state.bad_validations = state.step, 0
        else:
            state.bad_validations += 1
        if not state.validations:
            state.start_prior = found.prior
        state.validations.append((state.step, -score[0]))
        self._log.write(
            "validation",
            step=state.step,
            validation_loss=found.loss,
            validation_accuracy=found.accuracy,
            majority_share=found.majority_share,
            best=better,
        )

    def _keep(self, best: dict[str, Any], found: Validation) -> None:
        state = self.state
        state.best, state.best_score = best, found.score(self.setup.config.select)
        state.best_loss, state.best_accuracy = found.loss, found.accuracy
        state.best_prior = found.prior

    @property
    def _pools(self) -> bool:
        """Whether the head of the best step is pooled at the end, by the process that keeps it."""
        return self.setup.spec.head == "pooled" and self.setup.ranks.leads

    def _end(self, *, better: bool) -> str | None:
        """Why it trains no more after this validation; None if it does."""
        config, state = self.setup.config, self.state
        if state.step >= config.steps:
            return "steps"
        bad = 0 if better else state.bad_validations + 1
        return "patience" if 0 < config.patience <= bad else None

    def _pooled(self, *, better: bool) -> _Pooled:
        """The best step with a head that reads the input's values too, validated anew.

        Args:
            better: whether the best step is this one.
        """
        now = deepcopy(self.method.state_dict())
        try:
            if not better:
                self.load_best()
            weights = pool(self.setup, self.method)
            return _Pooled(deepcopy(self.method.state_dict()), self._score(), weights)
        finally:
            self.method.load_state_dict(now)

    def _log_pooled(self, pooled: _Pooled) -> None:
        self._log.write(
            "pooled",
            step=self.state.best_step,
            validation_loss=pooled.validation.loss,
            validation_accuracy=pooled.validation.accuracy,
            state=round(pooled.weights.state, 4),
            values=round(pooled.weights.values, 4),
            tfidf=round(pooled.weights.tfidf, 4),
        )

    def save_state(self) -> None:
        """Put everything that resuming needs into the state."""
        state = self.state
        for batches in self._all:
            batches.save_state()
        state.log_bytes = self._log.size()
        # A finished run needs its best parameters alone.
        state.method = {} if self.finished else deepcopy(self.method.state_dict())
        state.optimizer = {} if self.finished else self._optimizer.state_dict()

    def load_best(self) -> None:
        """Put the best step's parameters into the method."""
        self.method.load_state_dict(self.state.best)


def raise_if_diverged(state: State) -> None:
    """
    Raises:
        TrainingError: the loss became infinite or undefined.
    """
    if state.error is not None:
        names = ("where", "got", "expected", "hint")
        fields = {name: state.error[name] for name in names}
        raise TrainingError(str(state.error["what"]), **fields)


def _diverged(state: State, loss: float, lr: float) -> TrainingError:
    return TrainingError(
        "the training diverged",
        where=f"step {state.step + 1}",
        got=f"loss {loss} at a learning rate of {lr:.3g}",
        expected="a finite loss",
        hint="lower --lr, or try --lr auto",
    )
