import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from cuecard.errors import ConfigError
from cuecard.evaluation.figures import confusion_figure, loss_figure

LOG = [
    {"event": "start"},
    *({"step": s, "loss": 1.0 / s} for s in range(1, 40)),
    {"step": 20, "validation_accuracy": 0.7},
    {"step": 39, "validation_accuracy": 0.9},
]


@pytest.fixture(autouse=True)
def _as_users_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere in the tests figures have few pixels."""
    monkeypatch.setitem(matplotlib.rcParams, "savefig.dpi", "figure")


def ink(path):
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 300
    return float((pixels[..., :3].min(-1) < 0.9).mean())


def test_loss_figure_draws_both_curves(tmp_path):
    both = loss_figure(LOG, tmp_path / "new" / "loss.png")
    alone = loss_figure([row for row in LOG if "loss" in row], tmp_path / "alone.png")
    assert both == tmp_path / "new" / "loss.png"
    assert 0.01 < ink(both) < 0.5
    orange = imread(both)[..., :3] - np.array([0xC8, 0x57, 0x1B]) / 255
    assert (np.abs(orange).max(-1) < 0.02).sum() > 200
    orange = imread(alone)[..., :3] - np.array([0xC8, 0x57, 0x1B]) / 255
    assert (np.abs(orange).max(-1) < 0.02).sum() == 0


def test_loss_figure_of_one_step(tmp_path):
    assert ink(loss_figure([{"step": 1, "loss": 2.0}], tmp_path / "one.png")) > 0


def test_loss_figure_needs_a_loss(tmp_path):
    with pytest.raises(ConfigError, match="no loss"):
        loss_figure([{"step": 1}], tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()


@pytest.mark.parametrize("size", [2, 6, 30])
def test_confusion_figure(tmp_path, size):
    counts = np.random.default_rng(0).integers(0, 50, (size, size)).tolist()
    labels = [f"label ${i}$ with a very long name indeed" for i in range(size)]
    assert ink(confusion_figure(counts, labels, tmp_path / "c.png")) > 0.01


@pytest.mark.parametrize("label", ["$x_1^", "$\\frac{$", "two\n\x07lines"])
def test_labels_are_drawn_as_text(tmp_path, label):
    labels = [label, "other"]
    assert ink(confusion_figure([[1, 2], [3, 4]], labels, tmp_path / "c.png")) > 0.01


def test_labels_that_the_font_lacks_are_no_reason_to_fail(tmp_path):
    labels = ["\U0001f41b bug", "\u6587\u5b57"]
    assert ink(confusion_figure([[1, 2], [3, 4]], labels, tmp_path / "c.png")) > 0.01


def test_a_label_without_rows_is_drawn_as_zeros(tmp_path):
    assert ink(confusion_figure([[3, 0], [0, 0]], ["a", "b"], tmp_path / "c.png")) > 0


def test_confusion_must_fit_the_labels(tmp_path):
    with pytest.raises(ConfigError, match="does not fit"):
        confusion_figure([[1, 2]], ["a", "b"], tmp_path / "c.png")


def test_no_global_state(tmp_path):
    before = matplotlib.get_backend(auto_select=False)
    confusion_figure([[1, 0], [0, 1]], ["a", "b"], tmp_path / "c.png")
    assert matplotlib.get_backend(auto_select=False) == before
