"""A folder of pictures from training to answers, as a user does it, and what is refused."""

from __future__ import annotations

import json
import shutil
from io import BytesIO
from pathlib import Path

import PIL.Image
import pytest

from cuecard.images import pixels_of
from cuecard.yaml_files import load_yaml
from support.command_line import Call, save_rows, save_tiny
from support.data.reviews import reviews
from support.tiny_clip import save_clip
from support.tiny_vision import SEVERAL, save_pictures, save_vision, several_pictures


def opened(content: bytes) -> str | None:
    """The format of a whole image."""
    with PIL.Image.open(BytesIO(content)) as found:
        found.load()
        return found.format


KIND = ("--kind", "image-classification")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision encoder and a folder of pictures."""
    folder = tmp_path_factory.mktemp("home")
    save_vision(folder / "vit")
    save_pictures(folder / "pictures")
    return folder


def test_from_a_folder_to_answers(
    home: Path, cuecard: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    done = cuecard(
        "train", "pictures", *KIND, "--backbone", "vit", "--method", "deep-prompts",
        "--length", 4, "--steps", 12, "--split-seed", 1, "--out", "run", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    report = json.loads((home / "run" / "report.json").read_text())
    assert {"majority", "nearest_mean", "linear_probe"} <= report.keys()
    assert report["left_out"] == {} and report["kind"] == "image-classification"
    answers = [json.loads(x) for x in (home / "run/predictions.jsonl").read_text().splitlines()]
    wrong = sum(not answer["correct"] for answer in answers)
    drawn = list((home / "run/figures/mistakes").glob("*.png"))
    assert len(drawn) == len(report.get("surest_mistakes", ())) == min(wrong, 12)
    assert ("The surest mistakes" in (home / "run/report.md").read_text()) == bool(wrong)
    prompt = json.loads((home / "run" / "prompt" / "prompt.json").read_text())
    assert prompt["method_config"]["init"] == "patches" and prompt["head"] == "linear"
    assert not (home / "run" / "prompt" / "adapter_config.json").exists()

    shown = cuecard(
        "predict", "run", "pictures/disc/0.png", "pictures/stripes", "pictures/*/2*.png"
    )
    lines = [line.split("\t") for line in shown.out.splitlines()]
    stripes, twos = 30, len(list(home.glob("pictures/*/2*.png")))
    assert len(lines) == 1 + stripes + twos and lines[0][2] == "pictures/disc/0.png"
    assert {line[0] for line in lines} <= {"disc", "stripes"}

    rows = [{"image": f"pictures/disc/{n}.png", "label": "disc"} for n in (0, 2, 4)]
    save_rows(home / "more.csv", rows)
    told = cuecard("predict", "run", "--file", "more.csv", "--json").json["predictions"]
    assert [row["row"] for row in told] == [2, 3, 4]
    for data in ("pictures", "more.csv"):
        scored = cuecard("eval", "run", data, "--json")
        assert scored.code == 0 and 0 <= scored.json["metrics"]["accuracy"] <= 1
    assert cuecard("inspect", "run").code == 0
    own = cuecard("inspect", "run", "--png", "own.png", "--json").json["attention"]
    assert own["layer"] == 3 and len(own["images"]) == 6 and own["file"] == "own.png"
    named = cuecard(
        "inspect", "run", "pictures/disc/0.png", "pictures/stripes", "--limit", 3, "--layer", 1,
        "--png", "named.png",
    )  # fmt: skip
    assert named.code == 0 and "attention of layer 1 over 3 images in named.png" in named.out
    assert [opened((home / name).read_bytes()) for name in ("own.png", "named.png")] == ["PNG"] * 2
    assert cuecard("eval", "run", "pictures", "--no-prompt").code == 0


def test_any_number_of_labels(home: Path, cuecard: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    (home / "several").mkdir()
    rows = []
    for number, record in enumerate(several_pictures(80)):
        pixels_of(record.images[0]).save(home / f"several/{number}.png")
        held = [*(record.target or ())]
        told = json.dumps(held) if number % 2 else ",".join(map(str, held))
        rows.append({"image": f"several/{number}.png", "labels": told})
    save_rows(home / "several.csv", rows)
    labels = ("--label-field", "labels")
    done = cuecard(
        "train", "several.csv", "--kind", "image-multi-label", *labels, "--backbone", "vit",
        "--method", "deep-prompts", "--length", 4, "--steps", 12, "--split-seed", 1, "--json",
        "--out", "tags", "--augment", "flip,shift",
    )  # fmt: skip
    assert done.code == 0, done.err
    recipe = load_yaml((home / "tags/recipe.yaml").read_text())
    assert recipe["training"]["augment"] == ["flip", "shift"]
    report = json.loads((home / "tags/report.json").read_text())
    assert report["metric"] == "micro_f1" and {"baseline", "linear_probe"} <= report.keys()
    assert "nearest_mean" not in report and report["left_out"] == {}
    assert report["prompt"]["exact_match"] <= 1 and report["surest_mistakes"]
    prompt = json.loads((home / "tags/prompt/prompt.json").read_text())
    assert prompt["task"]["labels"] == [*SEVERAL] and {*prompt["prior"]} == {*SEVERAL}
    scored = cuecard("eval", "tags", "several.csv", *labels, "--json").json
    assert scored["rows"] == 80 and scored["metric"] == "micro_f1"
    (answer,) = cuecard("predict", "tags", "several/7.png", "--json").json["predictions"]
    held = [label for label, p in answer["probabilities"].items() if p > 0.5]
    assert answer["answer"] == ",".join(held)
    assert cuecard("inspect", "tags", "several/7.png", "--png", "tags.png").code == 0
    of_rows = cuecard("inspect", "tags", "--png", "own-tags.png", "--json").json["attention"]
    assert all(name.startswith("several.csv, row ") for name in of_rows["images"])


def test_seeds_and_their_ensemble(
    home: Path, cuecard: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    train = (
        "train", "pictures", *KIND, "--backbone", "vit", "--method", "deep-prompts", "--length", 4,
        "--steps", 6, "--split-seed", 1, "--seeds", 2, "--no-compare",
    )  # fmt: skip
    done = cuecard(*train, "--out", "seeds")
    assert done.code == 0, done.err
    trials = sorted(path.parent for path in Path("seeds/trials").glob("*/prompt"))
    assert len(trials) == 2
    on = ("--backbone", "vit")
    alone = [cuecard("eval", trial, "pictures", *on, "--json").json for trial in trials]
    assert len({one["digest"] for one in alone}) == 2
    for rule in ("mean", "vote"):
        found = cuecard("ensemble", "pictures", *trials, "--rule", rule, *on, "--json").json
        assert found["members"] == [one["digest"] for one in alone] and found["rows"] == 60
    done = cuecard("ensemble", "pictures", *trials, "--distil", "one", *on)
    assert done.code == 2 and "not distilled" in done.err and not Path("one").exists()
    start = ("--keep", "average", "--out", "averaged")
    done = cuecard(*train, *start)
    assert done.code == 2 and "start apart" in done.err and not Path("averaged").exists()
    done = cuecard(*train, *start, "--init-prompt", "seeds", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out.splitlines()[-1])["seeds"]
    assert found["seeds"] == [0, 1] and "validation_loss" in found["average"]


def test_attention_that_cannot_be_drawn(
    home: Path, run: Path, cuecard: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    shutil.copytree("run/prompt", "alone")
    for words, said in (
        (("run", "pictures"), "--png with a file's name"),
        (("run", "--layer", 1), "--png with a file's name"),
        (("run", "--layer", 4, "--png", "not.png"), "no such layer"),
        (("run", "missing.png", "--png", "not.png"), "cannot be read"),
        (("alone", "--png", "not.png"), "outside of its run"),
        ((run, "--png", "not.png"), "only a prompt for images"),
        (("run", "--png", "pictures"), "no file can be written here"),
    ):
        done = cuecard("inspect", *words)
        assert done.code == 2 and said in done.err and "Traceback" not in done.err, done.err
        assert not (home / "not.png").exists() and not done.out


def test_prompts_around_labels_names(
    home: Path, cuecard: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    save_clip(home / "clip")
    done = cuecard(
        "train", "pictures", *KIND, "--backbone", "clip", "--method", "coop", "--init", "text",
        "--set", "task.label_template=the {label} .", "--steps", 6, "--split-seed", 1,
        "--out", "named", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    report = json.loads((home / "named" / "report.json").read_text())
    assert {"zero_shot", "start", "majority", "nearest_mean", "linear_probe"} <= report.keys()
    assert report["left_out"] == {}
    prompt = json.loads((home / "named" / "prompt" / "prompt.json").read_text())
    assert prompt["head"] == "labels" and prompt["task"]["label_template"] == "the {label} ."
    told = cuecard("inspect", "named").out
    assert "4 vectors of 24 around labels' names" in told
    assert cuecard("predict", "named", "pictures/disc/0.png").out.startswith(("disc", "stripes"))
    asked = ("eval", "named", "pictures", "--calibrate", "none", "--json")
    own, turned = (
        cuecard(*asked, *labels).json["metrics"] for labels in ((), ("--labels", "stripes,disc"))
    )
    assert own["ece"] == pytest.approx(turned["ece"])
    assert own["per_class"] == turned["per_class"]
    one = cuecard("eval", "named", "pictures", "--labels", "disc,a photo", "--no-prompt")
    assert one.code == 0 and "'stripes'" in one.err and "not asked for" in one.err
    few = cuecard("eval", "named", "pictures", "--labels", "disc")
    assert few.code == 2 and "too few labels" in few.err
    plain = cuecard("eval", "named", "pictures", "--no-prompt", "--json").json
    assert plain["used_prompt"] is False
    moved = ("--backbone", "clip", "--method", "cocoop", "--steps", 2, "--out", "moved")
    assert cuecard("train", "pictures", *KIND, *moved).code == 0
    assert "around labels' names, which each image moves" in cuecard("inspect", "moved").out
    assert cuecard("eval", "moved", "pictures", "--labels", "stripes,disc").code == 0
    fresh = ("train", "pictures", *KIND, "--method", "coop", "--out", "none", "--steps", 2)
    refused = cuecard(*fresh, "--backbone", "vit")
    assert refused.code == 2 and "does not take label-tokens" in refused.err
    texts = [{"text": record.text("text"), "label": record.target} for record in reviews(20)]
    save_rows(home / "texts.csv", texts)
    refused = cuecard("train", "texts.csv", "--backbone", "clip", "--steps", 2, "--out", "none")
    assert refused.code == 2 and "does not read texts" in refused.err
    assert not (home / "none").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("missing.png",), "file cannot be read"),
        (("empty",), "there are no images"),
        (("*.webp",), "there are no images"),
        (("a text",), "file cannot be read"),
    ],
)
def test_no_such_picture(
    home: Path, cuecard: Call, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(home)
    (home / "empty").mkdir(exist_ok=True)
    done = cuecard("predict", "run", *words)
    assert done.code == 2 and said in done.err and "Traceback" not in done.err


def test_a_picture_that_cannot_be_read_is_named(
    home: Path, cuecard: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(home)
    whole = (home / "pictures" / "disc" / "0.png").read_bytes()
    for name in ("1.png", "2.png", "3.png"):
        (tmp_path / name).write_bytes(whole)
    shown = (tmp_path, f"{tmp_path}/*.png", tmp_path / "2.png")
    for content, said in (
        (whole[:100], "cannot be read"),
        (b"no picture", "not an image"),
        (b"P6 20000 20000 255\n", "too many pixels"),
    ):
        (tmp_path / "2.png").write_bytes(content)
        for words in shown:
            done = cuecard("predict", "run", words)
            assert done.code == 2 and said in done.err and "2.png" in done.err, done.err
            assert "text" not in done.err
            assert not done.out and "Traceback" not in done.err


def test_what_does_not_go_together_is_refused_before_anything_is_written(
    home: Path, cuecard: Call, tmp_path: Path
) -> None:
    save_tiny(tmp_path / "llama")
    reviewed = [{"text": r.text("text"), "label": str(r.target)} for r in reviews(40)]
    save_rows(tmp_path / "texts.csv", reviewed)
    train = ("--method", "prompt-tuning", "--steps", 2, "--out", tmp_path / "run")
    folder, encoder = home / "pictures", ("--backbone", home / "vit")
    texts, xavier = (tmp_path / "texts.csv", "--backbone", tmp_path / "llama"), ("--init", "xavier")
    for words, said in (
        ((tmp_path / "texts.csv", *encoder), "does not read texts"),
        ((folder, *KIND, "--backbone", tmp_path / "llama"), "does not see images"),
        ((folder, *encoder), "--kind image-classification"),
        ((folder, *KIND, *encoder, "--init", "labels"), "made of words"),
        ((*texts, "--init", "patches"), "patches of training images"),
        ((*texts, "--augment", "flip"), "only training images are changed"),
        ((*texts, "--set", "method.fourier=0.5"), "option of prompts for images"),
        ((folder, *KIND, *encoder, "--set", "method.patches=k-means", *xavier), "init patches"),
        ((folder, *KIND, *encoder, "--set", "method.fourier=2"), "1 or less"),
        ((folder, *KIND, *encoder, "--template", "A {image}"), "words beside the image"),
        ((folder, *KIND, *encoder, "--set", "task.mask_class=3"), "the kind image-segmentation"),
        ((folder, *KIND, *encoder, "--quantize", "int8"), "not quantised"),
    ):
        done = cuecard("train", *words, *train)
        assert done.code == 2 and said in done.err, done.err
        assert "Traceback" not in done.err and not (tmp_path / "run").exists()


def test_a_prompt_of_texts_is_not_asked_about_pictures(
    home: Path, run: Path, cuecard: Call
) -> None:
    for backbone in ((), ("--backbone", home / "vit")):
        done = cuecard("eval", run, home / "pictures", *backbone)
        assert done.code == 2 and "Traceback" not in done.err
    done = cuecard("predict", run, "a fine film", "--backbone", home / "vit")
    assert done.code == 2 and "another backbone" in done.err
