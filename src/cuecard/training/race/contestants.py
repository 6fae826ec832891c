"""What `--method auto` tries, in the order in which a small budget leaves it out from the end.

Late keys and values come first: inputs are run once for all epochs. Where it is mostly targets that
are run, that saves little, and keys and values in front of the input learn more. What a backbone or
a template does not take is refused as it is without a race; prompt tuning works with every one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cuecard.errors import BackboneError, ConfigError
from cuecard.methods import CoOp, DeepPrompts, MaPLe, MethodSettings, PromptTuning, PTuningV2
from cuecard.tasks import Task, TaskSpec
from cuecard.training.config import TrainConfig
from cuecard.training.heads.fitted_head import fits_head
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.initial_method import suited_to
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Backbone, Encoded, Slot

# A head that starts as it was fitted is moved slowly.
_HEAD_LR = 3e-4
# Targets that are at least this share of the rows' tokens make late prompts save little.
_WRITTEN = 1 / 3
# Rows that it is reckoned from.
_READ = 64


@dataclass(frozen=True, slots=True)
class Candidate:
    """A method with its settings, and the training settings that suit it.

    Attributes:
        name: what tables call it.
        method: its settings.
        changes: training settings that it takes where the user leaves the default.
        faster: its learning rate, in times of the method's default.
        head: whether a pooled head tells the labels apart, where the task has them told by their
            words.
    """

    name: str
    method: MethodSettings
    changes: Mapping[str, Any] = field(default_factory=dict)
    faster: float = 1.0
    head: bool = False


def _prefix(rate: float, **settings: Any) -> Candidate:
    method = PTuningV2(length=8, values_lr=rate, **settings)
    return Candidate(f"{method.name}, rate {rate:g}", method)


# For images: from chance each learns less in the same steps, and a head that is moved as slowly as
# for texts holds them back (LOG.md).
_OF_PATCHES = tuple(
    replace(each, changes={"head_lr": 3e-3})
    for each in (
        _prefix(0.1, init="patches"),
        _prefix(0.03, init="patches"),
        Candidate(DeepPrompts.name, DeepPrompts(length=8, init="patches")),
        Candidate(PromptTuning.name, PromptTuning(length=16, init="patches")),
    )
)


def contestants(
    spec: TaskSpec, *, heads: bool = True, names: bool = False, written: float = 0.0
) -> tuple[Candidate, ...]:
    """What races for a task.

    Where the template says `{prompt}`, prompt tuning goes there, with as many vectors as it says.

    Args:
        heads: whether a head may tell labels apart that have words.
        names: whether the backbone has a tower that reads labels' names.
        written: the share of the rows' tokens that are targets, for a task of texts.
    """
    slot: Slot = "infix" if spec.parsed.has_prompt else "prefix"
    placed = sum(spec.parsed.deal)

    def late(rate: float, *, head: bool = False) -> Candidate:
        method = PTuningV2(length=placed or 8, slot="infix", values_lr=rate)
        name = f"late p-tuning-v2{' with a head' if head else ''}, rate {rate:g}"
        return Candidate(name, method, {"batch_rows": 16}, head=head)

    def tuning(name: str, faster: float = 1.0) -> Candidate:
        return Candidate(name, PromptTuning(length=placed or 16, slot=slot), faster=faster)

    # Where keys and values do not work, as in encoder-decoders, three races are left: the last.
    decoder = PromptTuning(length=0, decoder_length=16)
    if spec.task_kind.tower == "vision":
        others = _OF_PATCHES
        if not (names and spec.task_kind.single_label):
            return others
        # Beside a fitted head what starts as the zero-shot classifier.
        around = (Candidate(each.name, each) for each in (CoOp(init="text"), MaPLe()))
        return others[0], *around, *others[1:]
    headed = heads and spec.mode == "labels" and spec.head_is_possible
    return (
        *((_prefix(0.06),) if written >= _WRITTEN else ()),
        *((late(0.05, head=True),) if headed else ()),
        late(0.05),
        *((late(0.1, head=True),) if headed else ()),
        late(0.1),
        _prefix(0.03),
        tuning(PromptTuning.name),
        late(0.02),
        _prefix(0.01),
        tuning("prompt-tuning, 3 times the rate", 3),
        Candidate("prompt-tuning of the decoder", decoder, {"batch_rows": 32}),
    )


@dataclass(frozen=True)
class Entrants:
    """The contestants that a backbone and a task take.

    Attributes:
        setups, methods: each one's set-up and method, by name.
        refused: the others, and why.
    """

    setups: Mapping[str, TrainSetup]
    methods: Mapping[str, MethodSettings]
    refused: Mapping[str, str]

    @classmethod
    def of(
        cls, backbone: Backbone, task: Task, config: TrainConfig, *, heads: bool = True
    ) -> Entrants:
        """Set up every contestant that can run; what all of them are refused for is raised.

        Args:
            heads: see `contestants`.

        Raises:
            CuecardError: as `TrainSetup.of`, where no contestant can run.
        """
        setups: dict[str, TrainSetup] = {}
        refused: dict[str, str] = {}
        errors: dict[str, ConfigError | BackboneError] = {}
        rows: dict[tuple[Slot, bool], tuple[int, tuple[Encoded, ...]]] = {}
        racing = contestants(
            task.spec,
            heads=heads,
            names="labels" in backbone.takes,
            written=_written(backbone, task),
        )
        for each in racing:
            prompt = TrainablePrompt(suited_to(backbone, each.method))
            asked = replace(task, spec=task.spec.with_head("pooled")) if each.head else task
            own = _own_settings(each, prompt, backbone, config, fits_head(asked.spec, prompt))
            alike = prompt.slot, each.head
            checked, known = rows.get(alike, (0, None))
            length = getattr(each.method, "length", None) or 0
            seen = length <= checked and "decoder" not in each.method.requires
            try:
                setup = TrainSetup.of(backbone, asked, prompt, own, rows=known if seen else None)
            except (ConfigError, BackboneError) as error:
                errors[each.name] = error
                refused[each.name] = f"{error.what}: {error.got}"
                continue
            rows.setdefault(alike, (setup.start.injection().length, tuple(setup.rows)))
            setups[each.name] = setup
        if not setups:
            raise errors[PromptTuning.name]  # which needs the least
        methods = {
            each.name: suited_to(backbone, each.method) for each in racing if each.name in setups
        }
        return cls(setups, methods, refused)


def _written(backbone: Backbone, task: Task) -> float:
    """The share of a task's tokens that are texts to write."""
    if task.spec.mode != "text":
        return 0.0
    rows = task.spec.encode_rows(task.train[:_READ], backbone.tokenizer, "prefix")
    targets = sum(len(row.target) for row in rows)
    return targets / (targets + sum(row.positions for row in rows))


def _own_settings(
    each: Candidate,
    prompt: TrainablePrompt,
    backbone: Backbone,
    config: TrainConfig,
    fitted: bool,
) -> TrainConfig:
    """A contestant's own training settings. The budget is all contestants'."""
    # What the user set stays; a recipe that is read again has every default set.
    # Answers count, and they are calibrated; the loss is not, and decides between equals.
    changes = {"select": "accuracy", **({"head_lr": _HEAD_LR} if fitted else {}), **each.changes}
    usual = {name: type(config).model_fields[name].default for name in changes}
    wanted = {k: v for k, v in changes.items() if getattr(config, k) == usual[k]}
    own = config.model_copy(update={**wanted, "budget": None})
    if each.faster == 1:
        return own
    return own.model_copy(update={"lr": each.faster * prompt.default_lr(backbone, own)})
