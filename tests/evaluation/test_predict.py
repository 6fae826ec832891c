import copy
import math

import pytest
import torch

from cuecard.errors import ConfigError, TemplateError
from cuecard.evaluation import loglikelihood
from cuecard.evaluation.predict import (
    batch_prior,
    content_free_prior,
    cut_answer,
    label_prior,
    predict,
)
from cuecard.tasks.encoding.word_reads import LabelTrie
from cuecard.tasks.predictions import calibrate
from cuecard.tasks.spec import TaskSpec
from cuecard.types import InputTokens, Prediction, Record
from support.data.reviews import TEXT_SPEC, reviews
from support.tiny import tiny_backbone, tiny_model, tiny_tokenizer

TEXTS = [
    "one of the best films of the year",
    "a gob of drivel",
    "warm and funny and true , even so sickly sweet",
    "x",
    "the lazy dog will gag over and over and over again",
]
RECORDS = [Record({"text": text}, None, "t.csv", i + 2) for i, text in enumerate(TEXTS)]
ONE_TOKEN = {"negative": "bad", "positive": "good"}
MANY_TOKENS = {"negative": "utterly dreadful", "positive": "positive", "mixed": "so so !"}


@pytest.fixture(scope="module")
def backbone():
    torch.set_num_threads(1)
    return tiny_backbone()


@pytest.fixture(scope="module")
def vectors():
    return torch.randn(3, 32, generator=torch.Generator().manual_seed(0)) * 0.5


def make_spec(words, **more):
    return TaskSpec(
        kind="classification",
        template="Review: {text}\nSentiment:",
        labels=tuple(words),
        words=words,
        **more,
    )


def reference(text, words, vectors=None, slot="prefix"):
    """Summed log-probabilities from the plain model: float64, one row, no cache, no padding."""
    model, tokenizer = copy.deepcopy(tiny_model()).double(), tiny_tokenizer()
    embed = model.get_input_embeddings()
    context = tokenizer(f"Review: {text}\nSentiment:", add_special_tokens=False)["input_ids"]
    totals = {}
    for label, word in words.items():
        answer = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        before = embed(torch.tensor(context))
        after = embed(torch.tensor(answer))
        prompt = before[:0] if vectors is None else vectors.double()
        parts = [prompt, before, after] if slot == "prefix" else [before, prompt, after]
        with torch.no_grad():
            logits = model(inputs_embeds=torch.cat(parts)[None]).logits[0]
        start = len(before) + len(prompt) - 1
        logs = logits.log_softmax(-1)
        totals[label] = sum(float(logs[start + j, token]) for j, token in enumerate(answer))
    return totals


def in_common(contexts):
    columns = zip(*contexts, strict=False)
    return next(i for i, column in enumerate(columns) if len(set(column)) > 1)


def scores(predictions):
    return torch.tensor([list(p.scores.values()) for p in predictions])


@pytest.mark.parametrize("words", [ONE_TOKEN, MANY_TOKENS], ids=["one-token", "many-tokens"])
@pytest.mark.parametrize("slot", ["none", "prefix", "suffix"])
def test_scores_are_the_plain_models(backbone, vectors, words, slot):
    lengths = {len(w) for w in make_spec(words).continuations(backbone.tokenizer)}
    assert (lengths == {1}) == (words is ONE_TOKEN)
    given = None if slot == "none" else vectors
    place = "prefix" if slot == "none" else slot
    injection = None if given is None else InputTokens(given)
    found = predict(backbone, make_spec(words), RECORDS, injection, slot=place, batch_rows=4)
    for i, (prediction, text) in enumerate(zip(found, TEXTS, strict=True)):
        expected = reference(text, words, given, place)
        assert prediction.index == i
        assert prediction.scores == pytest.approx(expected, abs=2e-4)
        assert prediction.answer == max(expected, key=expected.get)
        assert tuple(prediction.scores) == tuple(words)
        total = sum(math.exp(value) for value in expected.values())
        shares = {label: math.exp(value) / total for label, value in expected.items()}
        assert prediction.probabilities == pytest.approx(shares, abs=1e-4)


@pytest.mark.parametrize("words", [ONE_TOKEN, MANY_TOKENS], ids=["one-token", "many-tokens"])
def test_any_order_and_any_batches_give_the_same(backbone, vectors, words):
    spec, injection = make_spec(words), InputTokens(vectors)
    whole = scores(predict(backbone, spec, RECORDS, injection))
    for options in ({"batch_rows": 1}, {"batch_rows": 3}, {"token_budget": 40}):
        parts = predict(backbone, spec, RECORDS, injection, **options)
        torch.testing.assert_close(scores(parts), whole, atol=2e-4, rtol=0)
    turned = predict(backbone, spec, RECORDS[::-1], injection, batch_rows=2)
    assert [p.index for p in turned] == list(range(len(RECORDS)))
    torch.testing.assert_close(scores(turned).flip(0), whole, atol=2e-4, rtol=0)


@pytest.mark.parametrize("length", [3, 90])
@pytest.mark.parametrize("batch_rows", [2, 32])
def test_a_front_and_every_context_run_once(backbone, length, batch_rows):
    spec, tokenizer = make_spec(MANY_TOKENS), backbone.tokenizer
    vectors = torch.randn(length, 32, generator=torch.Generator().manual_seed(1)) * 0.5
    backbone.reset_counts()
    found = predict(backbone, spec, RECORDS, InputTokens(vectors), batch_rows=batch_rows)
    contexts = [spec.encode(record, tokenizer).context for record in RECORDS]
    front = in_common(contexts)
    tree = len(LabelTrie.of(spec.continuations(tokenizer)).tokens)
    own = sum(len(ids) - front + tree for ids in contexts)
    assert backbone.counts["tokens"] == length + front + own
    for prediction, text in zip(found, TEXTS, strict=True):
        expected = reference(text, MANY_TOKENS, vectors)
        assert prediction.scores == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("chat", [False, True])
def test_single_tokens_run_the_front_once_too(backbone, chat):
    shown = TaskSpec(
        kind="classification",
        template="the quick brown fox jumps over the lazy dog\n{text} :",
        labels=tuple(ONE_TOKEN),
        words=ONE_TOKEN,
        chat=chat,
    )
    contexts = [shown.encode(record, backbone.tokenizer).context for record in RECORDS]
    front = in_common(contexts)
    backbone.reset_counts()
    whole = predict(backbone, shown, RECORDS, batch_rows=1)
    assert backbone.counts["tokens"] == front + sum(len(ids) - front for ids in contexts)
    for record, prediction in zip(RECORDS, whole, strict=True):
        (alone,) = predict(backbone, shown, [record])
        assert prediction.scores == pytest.approx(alone.scores, abs=1e-4)


def test_a_long_list_of_labels_is_run_in_pieces(backbone, monkeypatch):
    letters = "abcdefghij"
    words = {f"{a}{b}{a} {b}": f"{a} {b} {a} {b}" for a in letters for b in letters}
    spec = make_spec(words)
    whole = scores(predict(backbone, spec, RECORDS))
    monkeypatch.setattr(loglikelihood, "_TREE_TOKENS", 40)
    backbone.reset_counts()
    seen = []
    found = predict(backbone, spec, RECORDS, on_rows=seen.append)
    tokens = [len(LabelTrie.of(spec.continuations(tiny_tokenizer())).tokens), 40]
    assert tokens[0] > 5 * tokens[1] and sum(seen) == len(RECORDS)
    torch.testing.assert_close(scores(found), whole, atol=1e-4, rtol=0)
    for record, row in zip(RECORDS[:2], found, strict=False):
        expected = reference(record.fields["text"], dict(list(words.items())[:5]))
        assert {k: row.scores[k] for k in expected} == pytest.approx(expected, abs=2e-4)


NESTED = {"home": "good", "diy": "good for one", "garden": "bad for none"}


def by_definition(text, words):
    """p(word), less what of it goes on as a longer word."""
    plain = reference(text, words)
    tokenizer = tiny_tokenizer()
    ids = {k: tokenizer(f" {w}", add_special_tokens=False)["input_ids"] for k, w in words.items()}
    start = ids["home"]
    assert ids["diy"][: len(start)] == start
    longer = tokenizer.decode(ids["diy"][: len(start) + 1]).strip()
    goes_on = reference(text, {"x": longer})["x"]
    return plain | {"home": math.log(math.exp(plain["home"]) - math.exp(goes_on))}


@pytest.mark.parametrize("normalize", ["none", "length"])
def test_a_label_that_begins_another_counts_what_does_not_go_on(backbone, normalize):
    spec = make_spec(NESTED, normalize=normalize)
    found = predict(backbone, spec, RECORDS)
    counts = [
        len(ids) if normalize == "length" else 1 for ids in spec.continuations(tiny_tokenizer())
    ]
    for text, prediction in zip(TEXTS, found, strict=True):
        expected = by_definition(text, NESTED)
        wanted = {k: v / n for (k, v), n in zip(expected.items(), counts, strict=True)}
        assert prediction.scores == pytest.approx(wanted, abs=2e-4)


def test_options_that_begin_others_exclude_each_other(backbone):
    spec = TaskSpec(kind="multiple-choice", template="Review: {text}\nSentiment:")
    rows = [Record({"text": t, "options": '["good", "good for one"]'}, None) for t in TEXTS]
    for text, prediction in zip(TEXTS, predict(backbone, spec, rows), strict=True):
        expected = by_definition(text, {"home": "good", "diy": "good for one"})
        assert list(prediction.scores.values()) == pytest.approx(list(expected.values()), abs=2e-4)


def test_nothing_to_predict(backbone, vectors):
    assert predict(backbone, make_spec(MANY_TOKENS), [], InputTokens(vectors)) == []


def test_the_single_token_path_is_the_general_path(backbone, vectors):
    # A third label of two tokens sends the same two labels through the general path.
    fast = predict(backbone, make_spec(ONE_TOKEN), RECORDS, InputTokens(vectors))
    wide = make_spec({**ONE_TOKEN, "other": "quick brown"})
    slow = predict(backbone, wide, RECORDS, InputTokens(vectors))
    assert len(wide.continuations(backbone.tokenizer)[2]) > 1
    torch.testing.assert_close(scores(fast), scores(slow)[:, :2], atol=2e-4, rtol=0)


def test_length_normalisation_divides_by_tokens(backbone):
    plain = predict(backbone, make_spec(MANY_TOKENS), RECORDS)
    normal = predict(backbone, make_spec(MANY_TOKENS, normalize="length"), RECORDS)
    counts = [len(c) for c in make_spec(MANY_TOKENS).continuations(backbone.tokenizer)]
    torch.testing.assert_close(scores(normal), scores(plain) / torch.tensor(counts))


def test_targets_are_not_looked_at(backbone):
    labelled = [Record(r.fields, "no such label") for r in RECORDS]
    spec = make_spec(ONE_TOKEN)
    assert predict(backbone, spec, labelled) == predict(backbone, spec, RECORDS)


def test_progress_counts_each_record_once(backbone):
    for words in (ONE_TOKEN, MANY_TOKENS):
        seen = []
        predict(backbone, make_spec(words), RECORDS, batch_rows=2, on_rows=seen.append)
        assert sum(seen) == len(RECORDS)
        assert len(seen) > 1


def test_progress_of_a_long_list_of_labels_is_told_on_the_way(backbone, monkeypatch):
    monkeypatch.setattr(loglikelihood, "_TREE_TOKENS", 1)  # a label in a piece
    seen = []
    labels = {str(n): "so " * n + "!" for n in range(1, 10)}
    records = [Record({"text": TEXTS[0]}, None)] * 8
    predict(backbone, make_spec(labels), records, batch_rows=2, on_rows=seen.append)
    assert sum(seen) == len(records)
    # After each pass, and most passes end no record.
    assert len(seen) > 3 * len(records)
    assert sum(seen[: len(seen) // 2]) == len(records) // 2


def test_no_records(backbone):
    for words in (ONE_TOKEN, MANY_TOKENS):
        assert predict(backbone, make_spec(words), []) == []


def test_a_missing_field_is_an_error(backbone):
    with pytest.raises(TemplateError, match="text"):
        predict(backbone, make_spec(ONE_TOKEN), [Record({"txt": "x"}, None)])


def by_hand(*rows):
    return [Prediction(i, "", {"a": a, "b": b}, {}) for i, (a, b) in enumerate(rows)]


def test_batch_prior_by_hand():
    rows = by_hand(
        (math.log(0.09), math.log(0.01)), (math.log(0.6), math.log(0.2)), (-800.0, -802.0)
    )
    share = 1 / (1 + math.exp(-2))
    expected = {
        "a": math.log((0.9 + 0.75 + share) / 3),
        "b": math.log((0.1 + 0.25 + 1 - share) / 3),
    }
    assert batch_prior(rows) == pytest.approx(expected)


def test_calibration_by_hand():
    rows = by_hand((math.log(0.6), math.log(0.4)))
    (row,) = calibrate(rows, {"a": math.log(0.8), "b": math.log(0.2)})
    assert row.answer == "b"
    assert row.scores == pytest.approx({"a": math.log(0.75), "b": math.log(2.0)})
    assert row.probabilities == pytest.approx({"a": 0.75 / 2.75, "b": 2 / 2.75})


def test_a_prior_in_predict_is_calibrate_after_it(backbone):
    spec = make_spec(ONE_TOKEN)
    prior = label_prior(backbone, spec, RECORDS)
    raw = predict(backbone, spec, RECORDS)
    assert prior == batch_prior(raw)
    assert predict(backbone, spec, RECORDS, prior=prior) == calibrate(raw, prior)
    assert prior != content_free_prior(backbone, spec)


def test_calibration_moves_a_one_sided_prompt_towards_both_labels(backbone):
    spec = make_spec(ONE_TOKEN)
    raw = predict(backbone, spec, RECORDS)
    shifted = [
        Prediction(p.index, p.answer, {**p.scores, "positive": p.scores["positive"] + 50}, {})
        for p in raw
    ]
    assert {p.answer for p in calibrate(shifted, batch_prior(shifted))} == {"negative", "positive"}


def test_content_free_prior_by_hand(backbone):
    spec = make_spec(ONE_TOKEN)
    rows = []
    for text in ("N/A", "", "[MASK]"):
        values = reference(text, ONE_TOKEN)
        total = sum(math.exp(v) for v in values.values())
        rows.append({label: math.exp(v) / total for label, v in values.items()})
    expected = {label: math.log(sum(r[label] for r in rows) / 3) for label in ONE_TOKEN}
    assert content_free_prior(backbone, spec) == pytest.approx(expected, abs=1e-4)


def test_content_free_prior_of_a_template_that_is_its_field(backbone):
    spec = TaskSpec(kind="classification", template="{text}", labels=tuple(ONE_TOKEN))
    assert sum(math.exp(v) for v in content_free_prior(backbone, spec).values()) == pytest.approx(1)


def test_priors_that_do_not_fit_are_refused(backbone):
    spec = make_spec(ONE_TOKEN)
    with pytest.raises(ConfigError, match="not for these labels"):
        predict(backbone, spec, RECORDS, prior={"positive": 0.0})
    with pytest.raises(ConfigError, match="scored labels"):
        label_prior(backbone, spec, [])
    text = TaskSpec(kind="text-to-text", template="{text}\nOut:")
    with pytest.raises(ConfigError, match="needs labels"):
        predict(backbone, text, RECORDS, prior={"a": 0.0})


@pytest.mark.parametrize("given", [False, True])
def test_generated_text_is_the_plain_models(backbone, vectors, given):
    spec = TaskSpec(kind="text-to-text", template="{text}\nOut:", max_new_tokens=6)
    model, tokenizer = tiny_model(), tiny_tokenizer()
    injection = InputTokens(vectors) if given else None
    found = predict(backbone, spec, RECORDS, injection, batch_rows=2)
    for prediction, text in zip(found, TEXTS, strict=True):
        ids = tokenizer(f"{text}\nOut:", add_special_tokens=False)["input_ids"]
        for _ in range(6):
            embeds = model.get_input_embeddings()(torch.tensor(ids))
            embeds = torch.cat([vectors, embeds]) if given else embeds
            with torch.no_grad():
                token = int(model(inputs_embeds=embeds[None]).logits[0, -1].argmax())
            if token == tokenizer.eos_token_id:
                break
            ids.append(token)
        start = len(tokenizer(f"{text}\nOut:", add_special_tokens=False)["input_ids"])
        expected = tokenizer.decode(ids[start:], skip_special_tokens=True).strip()
        assert prediction.answer == expected
        assert prediction.scores == {}
    assert any(p.answer for p in found)


def test_the_tasks_own_stop_ends_an_answer():
    backbone, spec, records = tiny_backbone("llama"), TEXT_SPEC, reviews(4)
    whole = [p.answer for p in predict(backbone, spec, records)]
    stop = whole[0][len(whole[0]) // 2]
    ended = spec.model_copy(update={"stop": stop})
    cut = [p.answer for p in predict(backbone, ended, records)]
    assert cut == [answer.split(stop)[0].strip() for answer in whole] != whole
    longer = [p.answer for p in predict(backbone, ended, records, stop=whole[0] + "#")]
    assert longer == whole


def test_stop_text():
    assert cut_answer("\n Paris \nQ: next", "\n") == "Paris"
    assert cut_answer(" Paris \nQ ", None) == "Paris \nQ"
    assert cut_answer("", "\n") == ""
