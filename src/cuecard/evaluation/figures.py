"""A run's figures. matplotlib's own objects and the Agg canvas: no global state, no display."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cuecard.errors import ConfigError
from cuecard.lazy import lazy_module, np
from cuecard.plain_files import write_bytes
from cuecard.visible import cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

matplotlib_agg = lazy_module("matplotlib.backends.backend_agg")
matplotlib_figure = lazy_module("matplotlib.figure")
matplotlib_ticker = lazy_module("matplotlib.ticker")

_BLUE, _ORANGE, _GREY = "#2563a8", "#c8571b", "#9aa4b0"

# Beyond this many labels the numbers inside the cells cannot be read any more.
_MOST_WRITTEN = 20
_SCORE = "validation accuracy"
_MOST_MAPS = 8  # of a prompt's vectors in a row of the attention's figure
_CELL = 1.5  # inches
_LONGEST = 24  # characters of a label


def loss_figure(rows: Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    """Training loss (left axis) and validation score (right axis) over steps, as a PNG.

    Args:
        rows: a run's log; a row with `step` and `loss` is a point of the loss, one with `step` and
            `validation_accuracy` a point of the score, and every other row is passed over.

    Raises:
        ConfigError: no row has a step and a loss.
    """
    key = "validation_accuracy"
    kept = [row for row in rows if row.get("step") is not None]
    losses = [(row["step"], row["loss"]) for row in kept if row.get("loss") is not None]
    scores = [(row["step"], row[key]) for row in kept if row.get(key) is not None]
    if not losses:
        raise ConfigError(
            "the log has no loss to draw", got=f"{len(kept)} rows with a step", expected="loss"
        )
    figure, axes = _blank((7.0, 4.0))
    steps, values = _columns(losses)
    axes.plot(steps, values, color=_GREY, linewidth=0.8, alpha=0.7)
    axes.plot(steps, _smooth(values), color=_BLUE, linewidth=1.8, label="training loss")
    axes.set_xlabel("step")
    axes.set_ylabel("training loss (nats per target token)", color=_BLUE)
    axes.set_ylim(bottom=0.0)
    axes.xaxis.set_major_locator(matplotlib_ticker.MaxNLocator(integer=True))
    handles, names = axes.get_legend_handles_labels()
    if scores:
        right = axes.twinx()
        at, heights = _columns(scores)
        right.plot(at, heights, color=_ORANGE, marker="o", markersize=4, label=_SCORE)
        right.set_ylabel(_SCORE, color=_ORANGE)
        right.spines["top"].set_visible(False)
        more, more_names = right.get_legend_handles_labels()
        handles, names = [*handles, *more], [*names, *more_names]
    axes.legend(
        handles, names, loc="upper center", bbox_to_anchor=(0.5, 1.13), ncols=2, frameon=False
    )
    return _write(figure, path)


def confusion_figure(
    confusion: Sequence[Sequence[int]], labels: Sequence[str], path: str | Path
) -> Path:
    """A confusion matrix as a PNG: rows are the truth, colours the share of the row.

    Args:
        confusion: [L][L] counts.
        labels: the names of rows and columns.

    Raises:
        ConfigError: a matrix that is not square in the labels.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    size = len(labels)
    if counts.shape != (size, size) or size == 0:
        raise ConfigError(
            "the confusion matrix does not fit the labels",
            got=f"shape {counts.shape}",
            expected=f"({size}, {size})",
        )
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1.0)
    width = min(12.0, 3.2 + 0.75 * size)
    figure, axes = _blank((width + 0.8, width))
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    names = [_short(label) for label in labels]
    slanted = size > 4 or max(map(len, names)) > 10
    axes.set_xticks(
        range(size), names, rotation=45 if slanted else 0, ha="right" if slanted else "center"
    )
    axes.set_yticks(range(size), names)
    for name in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        name.set_parse_math(False)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")
    figure.colorbar(image, ax=axes, label="share of the truth", fraction=0.046, pad=0.04)
    for row in range(size if size <= _MOST_WRITTEN else 0):
        for column in range(size):
            axes.text(
                column,
                row,
                f"{int(counts[row, column])}",
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.55 else "black",
            )
    return _write(figure, path)


def attention_figure(
    images: NDArray[np.float32],
    maps: NDArray[np.float32],
    names: Sequence[str],
    path: str | Path,
    *,
    what: str = "vector",
) -> Path:
    """Attention between a prompt and images' patches as a PNG.

    A row for each image: the image, the mean over the prompt's vectors, then its first vectors.
    Every map has colours of its own range, and its largest share under it.

    Args:
        images: [B, h, w, C] from 0 to 1.
        maps: [B, P, rows, columns].
        what: what the prompt consists of.
    """
    drawn = min(maps.shape[1], _MOST_MAPS)
    titles = ["image", f"mean of {maps.shape[1]}", *(f"{what} {n}" for n in range(1, drawn + 1))]
    figure = _figure((_CELL * len(titles), _CELL * 1.25 * len(images)))
    cells = figure.subplots(len(images), len(titles), squeeze=False)
    for axes, title in zip(cells[0], titles, strict=True):
        axes.set_title(title, fontsize=8)
    for row, image, own, name in zip(cells, images, maps, names, strict=True):
        for axes in row:
            axes.imshow(image if image.shape[-1] == 3 else image[..., 0], cmap="gray")
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_xlabel(_short(name), fontsize=6, parse_math=False)
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        for axes, shares in zip(row[1:], [own.mean(0), *own[:drawn]], strict=True):
            axes.imshow(shares, cmap="inferno", alpha=0.65, extent=extent)
            axes.set_xlabel(f"up to {shares.max():.3f}", fontsize=6)
    return _write(figure, path)


def _blank(size: tuple[float, float]) -> tuple[Any, Any]:
    figure = _figure(size)
    axes = figure.add_subplot()
    axes.spines["top"].set_visible(False)
    return figure, axes


def _figure(size: tuple[float, float]) -> Any:
    figure = matplotlib_figure.Figure(figsize=size, dpi=150, layout="constrained")
    matplotlib_agg.FigureCanvasAgg(figure)
    return figure


def _write(figure: Any, path: str | Path) -> Path:
    drawn = BytesIO()
    with warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes, which is no reason to fail.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(drawn, format="png")
    return write_bytes(drawn.getvalue(), path)


def _columns(points: Sequence[tuple[Any, Any]]) -> tuple[list[float], list[float]]:
    ordered = sorted((float(x), float(y)) for x, y in points)
    return [x for x, _ in ordered], [y for _, y in ordered]


def _smooth(values: Sequence[float]) -> list[float]:
    """An exponential mean over about a twentieth of the run, unbiased at its start."""
    keep = 1.0 - 1.0 / max(1.0, len(values) / 20.0)
    smoothed, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = keep * total + (1.0 - keep) * value, keep * weight + (1.0 - keep)
        smoothed.append(total / weight)
    return smoothed


def _short(label: str) -> str:
    return cut("".join(c if c.isprintable() else " " for c in label), _LONGEST)
