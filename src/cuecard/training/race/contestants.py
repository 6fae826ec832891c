"""What `--method auto` tries, in the order in which a small budget leaves it out from the end.

Late keys and values come first: inputs are run once for all epochs. What a backbone or a template
does not take is refused as it is without a race; prompt tuning works with every one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cuecard.errors import BackboneError, ConfigError
from cuecard.methods import MethodSettings, PromptTuning, PTuningV2
from cuecard.tasks import Task, TaskSpec
from cuecard.training.config import TrainConfig
from cuecard.training.setup import TrainSetup
from cuecard.training.trainables.initial_method import suited_to
from cuecard.training.trainables.trainable import TrainablePrompt
from cuecard.types import Backbone, Encoded, Slot

# A head that starts as it was fitted is moved slowly.
_HEAD_LR = 3e-4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A method with its settings, and the training settings that suit it.

    Attributes:
        name: what tables call it.
        method: its settings.
        changes: training settings that it takes where the user leaves the default.
        faster: its learning rate, in times of the method's default.
    """

    name: str
    method: MethodSettings
    changes: Mapping[str, Any] = field(default_factory=dict)
    faster: float = 1.0


def contestants(spec: TaskSpec) -> tuple[Candidate, ...]:
    """What races for a task.

    Where the template says `{prompt}`, prompt tuning goes there, with as many vectors as it says.
    """
    slot: Slot = "infix" if spec.parsed.has_prompt else "prefix"
    placed = sum(spec.parsed.deal)

    def late(rate: float) -> Candidate:
        method = PTuningV2(length=placed or 8, slot="infix", values_lr=rate)
        return Candidate(f"late p-tuning-v2, rate {rate:g}", method, {"batch_rows": 16})

    def prefix(rate: float) -> Candidate:
        return Candidate(f"p-tuning-v2, rate {rate:g}", PTuningV2(length=8, values_lr=rate))

    def tuning(name: str, faster: float = 1.0) -> Candidate:
        return Candidate(name, PromptTuning(length=placed or 16, slot=slot), faster=faster)

    # Where keys and values do not work, as in encoder-decoders, three races are left: the last.
    decoder = PromptTuning(length=0, decoder_length=16)
    return (
        late(0.05),
        late(0.1),
        prefix(0.03),
        tuning(PromptTuning.name),
        late(0.02),
        prefix(0.01),
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
        cls, backbone: Backbone, task: Task, config: TrainConfig, *, fitted: bool = False
    ) -> Entrants:
        """Set up every contestant that can run; what all of them are refused for is raised.

        Args:
            fitted: whether their heads will be, before their first steps.

        Raises:
            CuecardError: as `TrainSetup.of`, where no contestant can run.
        """
        setups: dict[str, TrainSetup] = {}
        refused: dict[str, str] = {}
        errors: dict[str, ConfigError | BackboneError] = {}
        rows: dict[Slot, tuple[int, tuple[Encoded, ...]]] = {}
        racing = contestants(task.spec)
        for each in racing:
            prompt = TrainablePrompt(suited_to(backbone, each.method))
            own = _own_settings(each, prompt, backbone, config, fitted)
            checked, known = rows.get(prompt.slot, (0, None))
            length = getattr(each.method, "length", None) or 0
            seen = length <= checked and "decoder" not in each.method.requires
            try:
                setup = TrainSetup.of(backbone, task, prompt, own, rows=known if seen else None)
            except (ConfigError, BackboneError) as error:
                errors[each.name] = error
                refused[each.name] = f"{error.what}: {error.got}"
                continue
            rows.setdefault(prompt.slot, (setup.start.injection().length, tuple(setup.rows)))
            setups[each.name] = setup
        if not setups:
            raise errors[PromptTuning.name]  # which needs the least
        methods = {
            each.name: suited_to(backbone, each.method) for each in racing if each.name in setups
        }
        return cls(setups, methods, refused)


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
