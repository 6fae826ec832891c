"""The contract of segmentation models: learnt sparse tokens on a tiny random SAM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import SamHQConfig, SamHQModel

from cuecard.artifacts import Prompt
from cuecard.backbones import SegmentationBackbone, load_frozen
from cuecard.backbones.image_processor import MaskProcessor
from cuecard.errors import BackboneError, ConfigError, WrongBackboneError
from cuecard.evaluation import score_predictions
from cuecard.evaluation.evaluate import evaluate
from cuecard.evaluation.predict import predict
from cuecard.images import checked, from_array, pixels_of
from cuecard.masks import bits_of_runs
from cuecard.methods import MPT, DeepPrompts, PromptTuning, PTuning, ResidualPromptTuning
from cuecard.tasks.encoding.batching import image_batch
from cuecard.training import TrainConfig
from cuecard.training.train import train
from cuecard.training.trainables.capabilities import check_supported
from cuecard.types import Encoded, InputTokens, Record
from support.tiny_sam import (
    BOTH,
    GRID,
    SIDE,
    SPEC,
    WIDTH,
    blob_task,
    blobs,
    save_sam,
    shared_sam,
    tiny_sam,
    tiny_sam_model,
    tiny_sam_processor,
)
from support.tiny_vision import shared_vision, tiny_processor

CONFIG = TrainConfig(steps=100, lr=0.4, batch_rows=8, seed=0)


def vectors(count: int = 3, seed: int = 0) -> InputTokens:
    return InputTokens(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)))


def rows_of(spec: Any = SPEC, count: int = 4) -> list[Encoded]:
    return spec.encode_rows(blobs(count), shared_sam().tokenizer, "prefix")  # type: ignore[no-any-return]


def logits(backbone: Any, rows: list[Encoded], injection: InputTokens | None) -> Tensor:
    with torch.no_grad():
        found: Tensor = backbone.read(image_batch(rows), injection).logits()
    return found


def own_inputs(record: Record) -> dict[str, Any]:
    """What transformers' own processor makes of a record's image."""
    return dict(tiny_sam_processor()(pixels_of(record.images[0]), return_tensors="pt"))


@pytest.mark.parametrize("asked", ["nothing", "point", "box", "both"])
def test_same_as_the_models_own_forward(asked: str) -> None:
    """SamModel, to whose prompt encoder's tokens ours are added by a hook."""
    backbone, injection = shared_sam(), vectors()
    template = {
        "nothing": "{image}",
        "point": "{image}{points}",
        "box": "{image}{boxes}",
        "both": "{image}{points}{boxes}",
    }
    spec = SPEC.model_copy(update={"template": template[asked]})
    for record in blobs(2):
        scale = SIDE / max(record.images[0].size)
        fields = {k: v for k, v in record.fields.items() if f"{{{k}}}" in spec.template}
        row = spec.encode(Record(fields, None), backbone.tokenizer)
        point = torch.tensor(json.loads(record.text("points")))[:, :2] * scale
        box = torch.tensor(json.loads(record.text("boxes"))) * scale
        given: dict[str, Any] = {}
        if asked in ("point", "both"):
            given |= {
                "input_points": point[None, None],
                "input_labels": torch.ones(1, 1, 1, dtype=torch.int64),
            }
        if asked in ("box", "both"):
            given["input_boxes"] = box[None]

        def put(_: Any, args: Any, options: Any) -> Any:
            own = options["sparse_prompt_embeddings"]
            ours = injection.vectors[None, None]
            tokens = ours if own is None else torch.cat([ours, own], 2)
            return args, {**options, "sparse_prompt_embeddings": tokens}

        handle = backbone.model.mask_decoder.register_forward_pre_hook(put, with_kwargs=True)
        inputs = own_inputs(record)
        with torch.no_grad():
            output = backbone.model(
                pixel_values=inputs["pixel_values"], multimask_output=False, **given
            )
        handle.remove()
        ours = logits(backbone, [row], injection)
        torch.testing.assert_close(ours, output.pred_masks.flatten(1), atol=1e-4, rtol=1e-4)
        (mask,) = tiny_sam_processor().post_process_masks(
            output.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"],
            pad_size={"height": SIDE, "width": SIDE},
        )  # fmt: skip
        (found,) = predict(backbone, spec, [Record(fields, None)], injection)
        assert np.array_equal(bits_of_runs(found.answer), np.asarray(mask[0, 0]))


@pytest.mark.parametrize("size", [(24, 32), (32, 20), (7, 31), (100, 33), (480, 640)])
def test_where_an_image_is_in_the_input(size: tuple[int, int]) -> None:
    image = checked(from_array(np.zeros((*size, 3), np.uint8)))
    frame = shared_sam().processor.frame(*size)
    (seen,) = own_inputs(Record({"image": image}, None))["reshaped_input_sizes"].tolist()
    assert list(frame.seen) == seen and (frame.side, frame.grid) == (SIDE, GRID)


def test_a_row_with_nothing_is_asked_with_the_whole_images_box() -> None:
    backbone, record = shared_sam(), blobs(1)[0]
    height, width = record.images[0].size
    boxed = {"image": record.images[0], "boxes": f"[[0, 0, {width}, {height}]]"}
    spec = SPEC.model_copy(update={"template": "{image}{boxes}"})
    rows = [spec.encode(Record(boxed, None), backbone.tokenizer)]
    assert torch.equal(logits(backbone, rows_of(count=1), None), logits(backbone, rows, None))


def test_neither_batch_mates_nor_other_prompts_matter() -> None:
    """Rows with and without points, under prompts of two lengths, in one call."""
    backbone = shared_sam()
    plain, pointed = rows_of(), rows_of(BOTH)
    parts = [(plain, vectors(3, 1)), (pointed, vectors(3, 2)), (plain[:2], vectors(5, 3))]
    before = backbone.counts["calls"]
    with torch.no_grad():
        found = backbone.read_many([(image_batch(rows), each) for rows, each in parts])
    # A point and a box are three tokens: passes of 3, 5 and 6.
    assert backbone.counts["calls"] == before + 3
    for (rows, each), reads in zip(parts, found, strict=True):
        alone = torch.cat([logits(backbone, [row], each) for row in rows])
        torch.testing.assert_close(reads.logits(), alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found[0].logits()[:2], found[2].logits(), atol=1e-3)


def test_an_image_is_encoded_once_in_a_whole_training() -> None:
    """And the blob is found by what is learnt from 36 pictures."""
    backbone, task = tiny_sam(seed=4), blob_task(60)
    before, encoded = backbone.digest(), []
    encoder = backbone.model.vision_encoder
    encoder.register_forward_hook(lambda _, args, output: encoded.append(len(output[0])))
    start = evaluate(backbone, task.spec, task.test)
    run = train(backbone, task, PromptTuning(length=16), CONFIG)
    images = {r.images[0].digest for r in (*task.train, *task.validation, *task.test)}
    assert encoded == [1] * len(encoded)
    # The frozen proof's and the prompt's test pictures are two more.
    assert len(images) <= len(encoded) <= len(images) + 2
    assert backbone.digest() == before
    (most,) = task.spec.task_kind.baselines(task.spec, task.train, task.test)
    same = score_predictions(task.spec, task.test, most.predict())
    assert run.test is not None
    assert run.test.score > max(start.score, same.score) + 0.2
    assert set(run.test.ci95) == {"iou", "dice"}
    assert run.test.ci95["iou"].low > start.ci95["iou"].high


def test_saved_it_answers_the_same_and_on_no_other_model(tmp_path: Path) -> None:
    backbone = load_frozen(save_sam(tmp_path / "sam"))
    task = blob_task(40, BOTH)
    run = train(backbone, task, PromptTuning(length=4), CONFIG.model_copy(update={"steps": 4}))
    run.prompt.save(tmp_path / "prompt")
    assert sum(f.stat().st_size for f in (tmp_path / "prompt").iterdir()) < 20_000
    again = Prompt.load(tmp_path / "prompt")
    bound = again.bind(load_frozen(tmp_path / "sam"))
    assert run.test is not None
    assert bound.evaluate(task.test).metrics == run.test.metrics
    other = tiny_sam(seed=1)
    for wrong in (other, shared_vision()):
        with pytest.raises(WrongBackboneError):
            again.bind(wrong)


def test_a_run_that_died_ends_with_the_same_bytes(tmp_path: Path) -> None:
    backbone, task = shared_sam(), blob_task(30)
    config = CONFIG.model_copy(update={"steps": 6, "checkpoint_every": 2})

    def die(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 4:
            raise KeyError("died")

    whole = train(backbone, task, PromptTuning(length=2), config)
    with pytest.raises(KeyError, match="died"):
        train(backbone, task, PromptTuning(length=2), config, folder=tmp_path, observer=die)
    again = train(backbone, task, PromptTuning(length=2), config, folder=tmp_path)
    assert torch.equal(again.prompt.vectors, whole.prompt.vectors)


def test_in_half_precision_it_answers_about_the_same() -> None:
    half = SegmentationBackbone(
        tiny_sam_model().bfloat16(), MaskProcessor(tiny_sam_processor(), "half"), "half"
    )
    assert half.fingerprint.weights == shared_sam().fingerprint.weights
    rows, injection = rows_of(BOTH), vectors()
    ours, plain = (logits(each, rows, injection) for each in (half, shared_sam()))
    assert float((ours - plain).abs().mean()) < 0.1 * float(plain.abs().mean())


def test_what_goes_into_other_models_is_refused() -> None:
    backbone = shared_sam()
    for method in (PromptTuning(length=2), PTuning(length=2), ResidualPromptTuning(length=2)):
        check_supported(backbone, method)
    check_supported(backbone, MPT(length=2))
    with pytest.raises(ConfigError, match="cannot be used with this method"):
        check_supported(backbone, DeepPrompts(length=2))
    wide = InputTokens(torch.zeros(2, WIDTH + 1))
    with pytest.raises(BackboneError, match="do not fit this backbone"):
        logits(backbone, rows_of(), wide)


def test_models_of_other_shapes_are_refused() -> None:
    """SAM-HQ, whose decoder takes more; a model without a part; a processor that crops."""
    lacking, plain = tiny_sam_model(), tiny_sam_model().config
    del lacking.prompt_encoder.not_a_point_embed
    parts = {
        name: {k: v for k, v in part.items() if k != "model_type"}
        for name, part in plain.to_dict().items()
        if name.endswith("_config")
    }
    parts["mask_decoder_config"]["vit_dim"] = WIDTH
    for model in (lacking, SamHQModel(SamHQConfig(**parts))):
        with pytest.raises(BackboneError, match="cannot be used as a segmentation backbone"):
            SegmentationBackbone(model, MaskProcessor(tiny_sam_processor(), "other"), "other")
    with pytest.raises(BackboneError, match="does not show where an image is"):
        MaskProcessor(tiny_processor(), "cropping")
