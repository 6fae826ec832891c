"""One prompt in training: its rows, its optimiser, its log, and what it has come to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy

from cuecard.errors import TrainingError
from cuecard.interrupts import Stop, may_cut
from cuecard.lazy import torch
from cuecard.training.batches import Feed
from cuecard.training.head import head_of
from cuecard.training.job import Job
from cuecard.training.optim import lr_share, make_optimizer, set_lr
from cuecard.training.storage.checkpoint import State
from cuecard.training.storage.log import RunLog
from cuecard.training.validation import Validation
from cuecard.types import Method

Prune = Callable[[State], bool]


class Member:
    """One of the prompts that `run_loop` trains together.

    Args:
        job: the backbone, the rows and the settings.
        method: what is trained.
        lr: the peak learning rate.
        validate: scores the method as it is now.
        state: where to start; fresh, or from a checkpoint.
        prune: asked after a validation whether going on is not worth it.
        feeds: where the rows come from; by default the job's rows alone. Several tasks that share
            the method's parameters have a feed each, and weigh alike.

    Raises:
        ConfigError: a learning rate that is not a positive number.
    """

    def __init__(
        self,
        job: Job,
        method: Method,
        lr: float,
        validate: Callable[[], Validation],
        state: State,
        log: RunLog,
        prune: Prune | None = None,
        feeds: Sequence[Feed] = (),
    ) -> None:
        self.job, self.method, self.state, self.lr = job, method, state, lr
        self._validate, self._log, self._prune = validate, log, prune
        self._optimizer = make_optimizer(job.config, lr, method.groups())
        if state.method:
            method.load_state_dict(state.method)
            self._optimizer.load_state_dict(state.optimizer)
        self.feeds = tuple(feeds) or (
            Feed(job, method.injection, state, head=lambda: head_of(method)),
        )
        self._now = lr

    @property
    def over(self) -> bool:
        """Whether it trains no more."""
        return self.state.ended is not None

    @property
    def begun(self) -> bool:
        """Whether its start has been validated."""
        return self.state.best_step >= 0

    @property
    def due(self) -> bool:
        """Whether this step is one to validate at."""
        step = self.state.step
        return step % self.job.validate_every == 0 or step == self.job.config.steps

    @property
    def left_unseen(self) -> bool:
        """Whether it was stopped between a step and the validation that was due after it."""
        state = self.state
        return self.begun and not self.over and self.due and state.looks[-1][0] != state.step

    def begin_step(self) -> int:
        """Draw the next step's batches, clear gradients, set the rate; how many passes it takes."""
        config = self.job.config
        share = lr_share(self.state.step, config)
        self._now = self.lr * share
        set_lr(self._optimizer, share)
        self._optimizer.zero_grad(set_to_none=True)
        for feed in self.feeds:
            feed.begin()
        return config.accumulation

    def share(self, losses: Sequence[torch.Tensor]) -> torch.Tensor:
        """The feeds' summed losses of one pass as their share of the step's loss."""
        shares = [feed.share(loss) for feed, loss in zip(self.feeds, losses, strict=True)]
        return torch.stack(shares).mean()

    def end_step(self, seconds: float) -> None:
        """Clip, step and log; a loss or gradient that is not finite ends this run alone."""
        state, loss = self.state, sum(feed.loss for feed in self.feeds) / len(self.feeds)
        penalty = self.method.penalty()  # followed, but not counted into the loss
        if penalty is not None:
            penalty.backward()  # type: ignore[no-untyped-call]
        clip = self.job.config.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.method.parameters(), clip)
        if not (math.isfinite(loss) and bool(torch.isfinite(norm))):
            error = _diverged(state, loss if math.isfinite(norm) else math.nan, self._now)
            state.ended, state.error = "diverged", error.to_dict()
            return
        self._optimizer.step()
        state.step += 1
        self._log.write(
            "step",
            step=state.step,
            loss=loss,
            lr=self._now,
            grad_norm=float(norm),
            targets=sum(feed.targets for feed in self.feeds),
            seconds=round(seconds, 4),
        )

    def look(self) -> None:
        """Validate; keep the method if it is the best so far; see whether to go on.

        Raises:
            Stop: Ctrl-C; nothing has changed.
        """
        state, config = self.state, self.job.config
        told = self._log.size()
        try:
            with may_cut():
                seen = self._validate()
        except Stop:
            self._log.cut(told)
            raise
        score = seen.score(config.select)
        better = state.best_step < 0 or score > state.best_score
        if better:
            state.best, state.best_step = deepcopy(self.method.state_dict()), state.step
            state.best_score, state.waited = score, 0
            state.best_loss, state.best_accuracy = seen.loss, seen.accuracy
            state.best_prior = seen.prior
        else:
            state.waited += 1
        if not state.looks:
            state.start_prior = seen.prior
        state.looks.append((state.step, -score[0]))
        self._log.write(
            "validation",
            step=state.step,
            validation_loss=seen.loss,
            validation_accuracy=seen.accuracy,
            commonest=seen.commonest,
            best=better,
        )
        if state.step >= config.steps:
            state.ended = "steps"
        elif 0 < config.patience <= state.waited:
            state.ended = "patience"
        elif self._prune is not None and self._prune(state):
            state.ended = "pruned"

    def gather(self) -> None:
        """Put everything a later sitting needs into the state."""
        state = self.state
        for feed in self.feeds:
            feed.gather()
        state.log_bytes = self._log.size()
        # What has ended needs its best alone.
        state.method = {} if self.over else deepcopy(self.method.state_dict())
        state.optimizer = {} if self.over else self._optimizer.state_dict()

    def spend(self, cpu: float, wall: float, tokens: float) -> None:
        """Count seconds, and tokens run forward, as spent on this run."""
        self.state.cpu_seconds += cpu
        self.state.wall_seconds += wall
        self.state.tokens += tokens

    def keep_best(self) -> None:
        """Let the method hold its best step."""
        self.method.load_state_dict(self.state.best)

    def raise_if_diverged(self) -> None:
        """
        Raises:
            TrainingError: the loss became infinite or undefined.
        """
        raise_if_diverged(self.state)


def raise_if_diverged(state: State) -> None:
    """
    Raises:
        TrainingError: the loss became infinite or undefined.
    """
    if state.error is not None:
        raise as_error(state.error)


def as_error(fields: dict[str, str | None]) -> TrainingError:
    """The error that a state keeps."""
    names = ("where", "got", "expected", "hint")
    return TrainingError(str(fields["what"]), **{name: fields[name] for name in names})


def _diverged(state: State, loss: float, lr: float) -> TrainingError:
    return TrainingError(
        "the training diverged",
        where=f"step {state.step + 1}",
        got=f"loss {loss} at a learning rate of {lr:.3g}",
        expected="a finite loss",
        hint="lower --lr, or try --lr auto",
    )
