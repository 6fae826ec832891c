"""lm-evaluation-harness' model of a prompt. Imported where the harness is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cuecard.artifacts.bound_prompt import BoundPrompt
from cuecard.backbones.quantization.forms import Precision, Quantize
from cuecard.engine.protocol import Sampling
from cuecard.errors import ConfigError
from cuecard.evaluation.predict import BATCH_ROWS
from cuecard.integrations.lm_eval.text_model import TextModel
from cuecard.integrations.lm_eval.written_texts import TextRequest
from cuecard.lazy import import_library, torch
from cuecard.names import load_backbone
from cuecard.saved_prompts.loaded import LoadedPrompt, load
from cuecard.types import Backbone

EXTRA = "lm-eval"
# Its own models are known before ours is added: an empty register is what it fills.
import_library("lm_eval.models", EXTRA)
_LM: Any = import_library("lm_eval.api.model", EXTRA).LM
_register = import_library("lm_eval.api.registry", EXTRA).register_model
_utils = import_library("lm_eval.models.utils", EXTRA)

MAX_GEN_TOKS = 256  # where lm-eval and a task say nothing
_SEEDS = (1 << 63) - 1


@_register("cuecard")
class CuecardLM(_LM):  # type: ignore[misc]
    """A saved prompt, or a backbone alone, as a model of lm-evaluation-harness.

    Args:
        prompt: as `cuecard.load` takes it, or one that is loaded or bound; None for the backbone
            alone.
        registry: where versions are looked up.
        backbone: by default the prompt's own.
        template: whether each context fills the prompt's template; see `TextModel`.
        batch_size: the most rows of a scoring pass; "auto", also as "auto:N", for 32.
        max_length: the most tokens that are read.
        dtype, device, quantize, adapter: as for `cuecard.load`.
        max_batch_size: not used; the harness gives it.

    Raises:
        CuecardError: as `cuecard.load` and `TextModel`.
    """

    def __init__(
        self,
        prompt: str | Path | LoadedPrompt | BoundPrompt | None = None,
        *,
        registry: str | None = None,
        backbone: str | Path | Backbone | None = None,
        template: bool = False,
        batch_size: int | str | None = None,
        max_length: int | None = None,
        dtype: Precision = "auto",
        device: str | None = None,
        quantize: Quantize | None = None,
        adapter: str | Path | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        how: dict[str, Any] = {"dtype": dtype, "device": _device(device), "adapter": adapter}
        bound: BoundPrompt | None = None
        if isinstance(prompt, str | Path):
            prompt = load(prompt, registry=registry, backbone=backbone, quantize=quantize, **how)
        if isinstance(prompt, LoadedPrompt):
            prompt = prompt.bound
        if prompt is not None:
            bound, backbone = prompt, prompt.backbone
        elif isinstance(backbone, str | Path):
            backbone = load_backbone(backbone, quantize=quantize or "none", **how)
        if backbone is None:
            raise ConfigError(
                "there is nothing to evaluate",
                where="--model_args",
                got="neither prompt= nor backbone=",
                expected="prompt=tickets@production, or backbone=NAME for one without a prompt",
            )
        self.text_model = TextModel(backbone, bound, template=template, max_length=max_length)
        self._device = backbone.device
        self.batch_rows = _batch_rows(batch_size)

    def loglikelihood(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """See `LM`."""
        rows = [self.text_model.pair(*request.args) for request in requests]
        with _bar(len(rows), disable_tqdm, "loglikelihood") as on_rows:
            found = self.text_model.score(rows, batch_rows=self.batch_rows, on_rows=on_rows)
        return [(one.logprob, one.greedy) for one in found]

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """See `LM`."""
        windows = [self.text_model.windows(request.args[0]) for request in requests]
        rows = [row for some in windows for row in some]
        with _bar(len(rows), disable_tqdm, "loglikelihood_rolling") as on_rows:
            found = iter(self.text_model.score(rows, batch_rows=self.batch_rows, on_rows=on_rows))
        return [sum(next(found).logprob for _ in some) for some in windows]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """See `LM`."""
        asked = [_text_request(*request.args) for request in requests]
        with _bar(len(asked), disable_tqdm, "generate_until") as on_rows:
            return self.text_model.generate(asked, on_rows)

    @property
    def tokenizer_name(self) -> str:
        """See `LM`: what requests in a cache belong to."""
        return self.text_model.backbone.fingerprint.tokenizer

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """See `LM`."""
        return str(self.text_model.tokenizer.chat_template) if chat_template else None

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """See `LM`.

        Raises:
            ConfigError: the tokenizer has no chat template.
        """
        tokenizer = self.text_model.tokenizer
        if not tokenizer.chat_template:
            raise ConfigError(
                "the backbone's tokenizer has no chat template",
                where="--apply_chat_template",
                got=self.text_model.backbone.name,
                expected="an instruction-tuned backbone, or no --apply_chat_template",
            )
        text: Any = tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return str(text)

    def get_model_info(self) -> dict[str, Any]:
        """What the harness keeps beside its results."""
        prompt = self.text_model.prompt
        info: dict[str, Any] = {"cuecard_backbone": self.text_model.backbone.name}
        if prompt is not None:
            info |= {"cuecard_prompt": prompt.prompt.digest, "template": self.text_model.template}
        return info


def _batch_rows(asked: int | str | None) -> int:
    """The rows of a scoring pass, in the harness' words.

    Raises:
        ConfigError: no number of rows.
    """
    size = "auto" if asked is None else str(asked)
    if size.partition(":")[0] == "auto":  # the harness' own looks N times for what fits
        return BATCH_ROWS
    if not size.isdecimal() or int(size) < 1:
        raise ConfigError(
            "not a number of rows", where="batch_size", got=asked, expected="1 or more, or auto"
        )
    return int(size)


def _device(asked: str | None) -> str:
    """The device to load on; the harness' default is a GPU where there is none, too."""
    return asked if asked and (asked != "cuda:0" or torch.cuda.is_available()) else "auto"


@contextmanager
def _bar(total: int, silent: bool, what: str) -> Iterator[Callable[[int], None]]:
    with import_library("tqdm").tqdm(total=total, disable=silent, desc=what) as bar:
        yield bar.update


def _text_request(context: str, given: Mapping[str, Any]) -> TextRequest:
    """A request in the harness' words.

    Raises:
        ConfigError: a setting of generation that is not known here.
    """
    settings = dict(_utils.normalize_gen_kwargs(dict(given), MAX_GEN_TOKS))
    stops = tuple(stop for stop in settings.pop("until") if stop)
    most, draws = settings.pop("max_gen_toks"), settings.pop("do_sample")
    temperature, top_p = settings.pop("temperature", 0.0), settings.pop("top_p", None)
    if not draws:
        settings.pop("top_k", None)  # the likeliest token is among them
    if settings:
        raise ConfigError(
            "a setting of generation that cuecard does not have",
            where="generation_kwargs",
            got=", ".join(sorted(settings)),
            expected="until, max_gen_toks, do_sample, temperature, top_p",
        )
    # The harness seeds torch: what is drawn is the same every time, and differs between repeats.
    seed = int(torch.randint(_SEEDS, ())) if draws else None
    sampling = Sampling(
        most,
        temperature=temperature if draws else 0.0,
        top_p=1.0 if top_p is None else top_p,
        seed=seed,
    )
    return TextRequest(context, sampling, stops)
