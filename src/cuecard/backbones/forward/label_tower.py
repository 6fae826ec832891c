"""The tower of a model of images and texts that reads labels' names, with vectors around them.

Zhou et al., "Learning to Prompt for Vision-Language Models" (IJCV 2022), section 3.2: a label's
text is [V]1 ... [V]M [name] . for learnt vectors V among the embeddings; the name may also stand
between two halves of them, or in front. The model's own text features are computed, by its own
code: vectors are put in by hooks, at the places of tokens that hold their room.

Vectors that an image moves (Zhou et al., "Conditional Prompt Learning for Vision-Language Models",
CVPR 2022, section 3.2) make every label's text another one for each image: as many texts as images
times labels, in runs of a bounded size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cuecard.backbones.kernels.checkpointing import decoder_layers
from cuecard.errors import BackboneError
from cuecard.types import LABEL, ZERO_SHOT, LabelTokens, NamePlace

_LEAD = ZERO_SHOT.partition(f" {LABEL}")[0]
# Of the texts in one run of the tower, where there are some for each image: 2 GB of activations in
# a base model.
_PLACES = 4096


@dataclass(frozen=True, slots=True)
class LabelRow:
    """A label's text as token ids, and where vectors stand among them."""

    ids: tuple[int, ...]
    places: tuple[int, ...] = ()


class LabelTower:
    """The text side of a model.

    Args:
        model: any transformers model with `get_text_features` and a `text_model`.
        tokenizer: its tokenizer, a fast one.
        name: what the user called it.
    """

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self._model, self._tokenizer, self._name = model, tokenizer, name
        config = model.config.text_config
        self.embed: nn.Module = model.text_model.get_input_embeddings()
        self.layers = decoder_layers(model.text_model, int(config.num_hidden_layers))
        self.hidden_size = int(config.hidden_size)
        self.positions = int(config.max_position_embeddings)
        # As in training: a tokenizer without masks pads to the whole length, and all of it is read.
        self._masked = "attention_mask" in tokenizer.model_input_names

    @property
    def embeddings(self) -> Tensor:
        """[V, H] the embedding matrix, detached."""
        return torch.as_tensor(self.embed.weight).detach()

    def features(self, names: Sequence[str], tokens: LabelTokens | str) -> Tensor:
        """[K, D] unit vectors of the labels' texts, float32, with gradients to the vectors.

        Args:
            tokens: the vectors around the names, or a template with {label} instead.

        Raises:
            BackboneError: a text that is longer than the tower's positions, or vectors that do not
                fit the model or the labels, or two labels of the same tokens without vectors of
                their own.
        """
        rows = self.rows(names, tokens)
        if isinstance(tokens, str):
            return self._run(rows, None)
        return self._run(rows, self._checked(tokens.vectors, len(names)))

    def features_by_image(
        self, rows: Sequence[LabelRow], tokens: LabelTokens, shifts: Tensor
    ) -> Tensor:
        """[N, K, D] unit vectors of K labels' texts for each of N images, float32.

        Where it takes several runs of the tower, each keeps its input alone for the backward pass.

        Args:
            rows: the labels' texts, as `rows` gives them.
            shifts: [N, H] what each image adds to the vectors of the first layer.

        Raises:
            BackboneError: vectors that do not fit the model or the labels.
        """
        vectors = self._checked(tokens.vectors, len(rows)).expand(len(rows), -1, -1, -1)
        each = vectors[None].expand(len(shifts), -1, -1, -1, -1)
        first = each[:, :, :1] + shifts.to(vectors)[:, None, None, None]
        moved = torch.cat([first, each[:, :, 1:]], 2).flatten(0, 1)
        texts, size = [*rows] * len(shifts), max(1, _PLACES // self.width(rows))
        runs = [(texts[at : at + size], moved[at : at + size]) for at in range(0, len(texts), size)]
        again = len(runs) > 1 and moved.requires_grad
        found = [
            checkpoint(self._run, *run, use_reentrant=False, preserve_rng_state=False)
            if again
            else self._run(*run)
            for run in runs
        ]
        return torch.cat(found).view(len(shifts), len(rows), -1)

    def rows(self, names: Sequence[str], tokens: LabelTokens | str) -> list[LabelRow]:
        """The labels' texts, with room for the vectors.

        Raises:
            BackboneError: as `features`.
        """
        if isinstance(tokens, str):
            rows = [LabelRow(self._ids(tokens.replace(LABEL, name))) for name in names]
        else:
            size = self._checked(tokens.vectors, len(names)).shape[2]
            rows = [self.row(name, size, tokens.place) for name in names]
        if isinstance(tokens, str) or len(tokens.vectors) == 1:
            self._told_apart(names, rows)
        self._check_tokens(names, rows)
        return rows

    def width(self, rows: Sequence[LabelRow]) -> int:
        """Places that each of these texts takes, read together."""
        return max(len(row.ids) for row in rows) if self._masked else self.positions

    def row(self, name: str, size: int, place: NamePlace) -> LabelRow:
        """A label's text with room for so many vectors.

        The name's and the full stop's tokens are those that they have in the zero-shot template.
        """
        found = self._tokenizer(
            ZERO_SHOT.replace(LABEL, name),
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            verbose=False,
        )
        ids, special = found["input_ids"], found["special_tokens_mask"]
        begun = next((at for at, mark in enumerate(special) if not mark), len(ids))
        ended = len(ids) - next((at for at, mark in enumerate(special[::-1]) if not mark), 0)
        starts = [start for start, _ in found["offset_mapping"]]
        stop = len(_LEAD) + 1 + len(name)
        own = [ids[at] for at in range(begun, ended) if len(_LEAD) <= starts[at] < stop]
        full_stop = [ids[at] for at in range(begun, ended) if starts[at] >= stop]
        half = {"end": size, "middle": size // 2, "front": 0}[place]
        room = (own or full_stop)[:1] * size  # any token that is not special
        text = (*room[:half], *own, *room[half:], *full_stop)
        places = [begun + at for at in range(half)]
        places += [begun + half + len(own) + at for at in range(size - half)]
        return LabelRow((*ids[:begun], *text, *ids[ended:]), tuple(places))

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, verbose=False)["input_ids"])

    def _checked(self, vectors: Tensor, labels: int) -> Tensor:
        count, layers, _, hidden = vectors.shape
        fits = count in (1, labels) and 1 <= layers <= len(self.layers)
        if not fits or hidden != self.hidden_size:
            raise BackboneError(
                "the prompt's vectors around labels do not fit",
                where=self._name,
                got=f"shape {tuple(vectors.shape)}",
                expected=f"shape (1 or {labels}, up to {len(self.layers)}, any, "
                f"{self.hidden_size})",
            )
        weight = self.embeddings
        return vectors.to(weight.device, weight.dtype)

    def _told_apart(self, names: Sequence[str], rows: Sequence[LabelRow]) -> None:
        first: dict[tuple[int, ...], str] = {}
        for name, row in zip(names, rows, strict=True):
            if row.ids in first:
                raise BackboneError(
                    "two labels have the same text to the tower that reads them",
                    where=self._name,
                    got=f"the same tokens for {first[row.ids]!r} and {name!r}",
                    expected="names that its tokenizer tells apart",
                    hint="--word gives a label another name",
                )
            first[row.ids] = name

    def _check_tokens(self, names: Sequence[str], rows: Sequence[LabelRow]) -> None:
        lengths = [len(row.ids) for row in rows]
        longest = max(lengths)
        if longest > self.positions:
            raise BackboneError(
                "the text of a label is longer than the positions of the tower that reads it",
                where=f"{self._name}, label {names[lengths.index(longest)]!r}",
                got=f"{longest} tokens, those of the prompt with it",
                expected=f"at most {self.positions}",
                hint="a shorter prompt, or shorter names for the labels",
            )
        highest, known = max(max(row.ids) for row in rows), len(self.embeddings)
        if highest >= known:
            raise BackboneError(
                "the tokenizer knows a token that the model has no embedding for",
                where=self._name,
                got=f"{self._tokenizer.decode([highest])!r}, token {highest}, in a label's text",
                expected=f"tokens 0 to {known - 1}",
            )

    def _run(self, rows: Sequence[LabelRow], vectors: Tensor | None) -> Tensor:
        """[R, D] unit vectors of texts, with vectors [1 or R, L', n, H] where they have room."""
        width = self.width(rows)
        pad = getattr(self._tokenizer, "pad_token_id", None)
        ids = torch.full((len(rows), width), int(pad or 0))
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row.ids)] = torch.tensor(row.ids)
            mask[number, : len(row.ids)] = 1
        device = self.embeddings.device
        given = {"input_ids": ids.to(device)}
        if self._masked:
            given["attention_mask"] = mask.to(device)
        with self._placing(rows, vectors):
            found = self._model.get_text_features(**given)
        pooled = found if isinstance(found, Tensor) else found.pooler_output
        return torch.nn.functional.normalize(pooled.float(), dim=-1)

    @contextmanager
    def _placing(self, rows: Sequence[LabelRow], vectors: Tensor | None) -> Iterator[None]:
        """Put the vectors where rows have room for them, in the calls of a block."""
        if vectors is None or not vectors.shape[2]:
            yield
            return
        each = vectors.expand(len(rows), -1, -1, -1)
        at = torch.tensor([row.places for row in rows], device=vectors.device)
        number = torch.arange(len(rows), device=vectors.device)[:, None].expand_as(at)

        def placed(hidden: Tensor, layer: int) -> Tensor:
            return hidden.index_put((number, at), each[:, layer])

        def among_embeddings(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            return placed(output, 0)

        def before(layer: int) -> Any:
            def replace(module: nn.Module, inputs: Any, options: dict[str, Any]) -> Any:
                if inputs:
                    return (placed(inputs[0], layer), *inputs[1:]), options
                return inputs, options | {"hidden_states": placed(options["hidden_states"], layer)}

            return replace

        handles = [self.embed.register_forward_hook(among_embeddings)]
        handles += [
            self.layers[layer].register_forward_pre_hook(before(layer), with_kwargs=True)
            for layer in range(1, vectors.shape[1])
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
