"""The figures of the book: one style, one colour per emotion, one look per kind of
result.

Colours are from the palette of Okabe and Ito, which colour-blind readers can tell
apart, darkened until text in them has a contrast of 4.5 to white. Figures are white;
the page turns them round where it is dark. No text is smaller than 10 points, so that
it has 11 pixels on a phone. Used by all chapters.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from serlib import display
from serlib.corpora.corpus import EMOTIONS, Recording, Segment

INK = "#595959"
"""Text and axes."""

EMOTION_COLOURS = {
    "angry": "#c25000",
    "happy": "#c98800",
    "neutral": "#767676",
    "sad": "#0072b2",
}
ACCENT, SECOND, THIRD = "#0072b2", "#c25000", "#00805d"
SHADES = LinearSegmentedColormap.from_list("shades", ["#0072b200", "#0072b2ff"])
"""From transparent to blue: for spectrograms and attention."""
PALE = LinearSegmentedColormap.from_list("pale", ["#3d9bd600", "#3d9bd6c7"])
"""Of matrices with numbers in them: black text reads on all of it."""


def use_style() -> None:
    """Set the book's look for all figures and tables that follow: call it once at the
    top of a chapter.
    """
    display.register()
    sns.set_theme(style="ticks", palette=[ACCENT, SECOND, THIRD, "#b0558a", "#9c6700"])
    mpl.rcParams.update(
        {
            "figure.figsize": (5.6, 3.4),
            "figure.dpi": 150,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "figure.titlesize": 11.5,
            "figure.titleweight": "bold",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 11.5,
            "axes.titleweight": "bold",
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "legend.frameon": False,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "axes.edgecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "font.size": 11,
            "font.family": "DejaVu Sans",
        }
    )


def scores(
    table: pd.DataFrame,
    *,
    ceilings: Mapping[str, float],
    chance: float = 0.25,
    title: str,
    xlabel: str = "UA (%), 95 % interval over test utterances",
) -> Figure:
    """Draw one score per system with its interval, and the best scores that different
    observers could reach.

    Args:
        table: a row per system, in the order to draw; columns `estimate`, `low`, `high`
            in [0, 1].
        ceilings: name of a ceiling to its value in [0, 1].
        chance: score of a guess, in [0, 1].
        title: the message of the figure.
        xlabel: the metric, with what the interval is.
    """
    figure, axes = plt.subplots(figsize=(5.6, 1.8 + 0.38 * len(table)))
    rows = np.arange(len(table))[::-1]
    estimate = 100 * table["estimate"].to_numpy()
    errors = np.abs(100 * table[["low", "high"]].to_numpy().T - estimate)
    look = {"color": ACCENT, "capsize": 3, "markersize": 6, "zorder": 4}
    axes.errorbar(estimate, rows, xerr=errors, fmt="o", **look)
    for row, value in zip(rows, estimate, strict=True):
        axes.annotate(
            f"{value:.1f}",
            (value, row),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=10,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},  # over lines
        )
    lines = [
        ("chance", chance, INK, ":"),
        *((name, value, SECOND, "--") for name, value in ceilings.items()),
    ]
    lines.sort(key=lambda line: line[1])
    for _, value, colour, dashes in lines:
        axes.axvline(100 * value, color=colour, linestyle=dashes, linewidth=1)
    axes.set(
        yticks=rows,
        yticklabels=table.index,
        ylim=(-0.6, len(table) - 0.4),
        xlabel=xlabel,
    )
    left, right = axes.get_xlim()
    width = 72 * 5.6 - 6.2 * max(map(len, table.index)) - 30  # of the frame, in points
    ends: list[float] = []  # of the last name at each height
    for name, value, colour, _ in lines:
        middle, half = width * (100 * value - left) / (right - left), 3.2 * len(name)
        free = (n for n, end in enumerate(ends) if end < middle - half)
        height = next(free, len(ends))
        ends[height : height + 1] = [middle + half + 4]
        where = {
            "xycoords": axes.get_xaxis_transform(),
            "xytext": (0, 2 + 11 * height),
            "textcoords": "offset points",
            "ha": "center",
            "fontsize": 10,
        }
        axes.annotate(name, (100 * value, 1), color=colour, **where)
    axes.set_title(textwrap.fill(title, 50), pad=6 + 11 * len(ends))
    told = "; ".join(f"{name} {100 * value:.1f}" for name, value, *_ in lines)
    each = zip(table.index, estimate, strict=True)
    score = "; ".join(f"{name} {value:.1f}" for name, value in each)
    axes.set_label(f"{title}. {xlabel}: {score}. Lines: {told}.")
    return figure


def confusion(
    matrix: np.ndarray, axes: Axes, title: str, classes: Sequence[str] = EMOTIONS
) -> None:
    """Draw a confusion matrix as row percentages: what became of the utterances of each
    emotion.

    Args:
        matrix: (classes, classes) counts, rows are the true classes.
        axes: where to draw.
        title: name of the system.
        classes: their names.
    """
    matrix = np.asarray(matrix, dtype=float)
    share = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap=PALE, vmin=0, vmax=100)
    numbers(share, axes)
    ticks = range(len(classes))
    axes.set(
        xticks=ticks,
        yticks=ticks,
        yticklabels=classes,
        title=title,
        xlabel="predicted",
        ylabel="true",
    )
    axes.set_xticklabels(classes, rotation=45, ha="right")
    axes.tick_params(length=0)
    sns.despine(ax=axes, left=True, bottom=True)
    right = zip(classes, np.diag(share), strict=True)
    hits = ", ".join(f"{name} {value:.0f}" for name, value in right)
    wrong = share - np.diag(np.diag(share))
    one, other = np.unravel_index(wrong.argmax(), wrong.shape)
    most = f"{classes[one]} taken for {classes[other]}, {wrong[one, other]:.0f} %"
    axes.set_label(f"{title}: told rightly, in %: {hits}. Most often wrong: {most}.")


def numbers(values: np.ndarray, axes: Axes) -> None:
    """Write whole numbers into the cells of a matrix that is drawn with `PALE`.

    Args:
        values: (rows, columns); a dash stands for nan.
        axes: where it is drawn.
    """
    middle = {"ha": "center", "va": "center", "color": "black", "fontsize": 10}
    for (row, column), value in np.ndenumerate(values):
        said = "–" if np.isnan(value) else f"{value:.0f}"
        axes.text(column, row, said, **middle)


def word_weights(
    words: Sequence[str],
    weights: np.ndarray,
    axes: Axes,
    title: str,
    marked: Mapping[int, str] | None = None,
) -> None:
    """Draw one bar per word: how much attention it received.

    Args:
        words: the words of the utterance.
        weights: (words,) attention weights.
        axes: where to draw.
        title: what to see.
        marked: index of a word to the colour of its bar.
    """
    colours = [(marked or {}).get(index, ACCENT) for index in range(len(words))]
    axes.bar(range(len(words)), weights, color=colours, width=0.75)
    axes.axhline(1 / len(words), color=INK, linestyle=":", linewidth=1)
    axes.set(xticks=range(len(words)), title=title, ylabel="attention weight")
    axes.set_xticklabels(words, rotation=60, ha="right")
    names, shares = list(words), np.asarray(weights, dtype=float)
    first = ", ".join(
        f"“{names[n]}” {shares[n]:.2f}" + " (marked)" * (n in (marked or {}))
        for n in np.argsort(-shares)[:3].tolist()
    )
    even = f"an even share is {1 / len(words):.2f}"
    axes.set_label(f"{title}. Most attention of {len(words)} words: {first}; {even}.")


def alignment(
    weights: np.ndarray,
    spans: np.ndarray,
    words: Sequence[str],
    axes: Axes,
    title: str,
    step: float,
) -> None:
    """Draw how words share their attention among the steps of a sound, from its
    smallest weight to its largest, and frame the steps in which each is spoken.

    Args:
        weights: (words, steps), where 1 is an even share.
        spans: (words, 2) the first step of each word and the one after its last.
        words: their names.
        axes: where to draw.
        title: whose attention; the smallest and the largest weight are added.
        step: seconds of a step.
    """
    low, high = weights.min(), weights.max()
    area = (0, step * weights.shape[1], len(words) - 0.5, -0.5)
    shown = {"cmap": SHADES, "vmin": low, "vmax": high, "aspect": "auto"}
    axes.imshow(weights, extent=area, **shown)
    for place, (first, after) in enumerate(np.asarray(spans) * step):
        corner, size = (first, place - 0.5), (after - first, 1)
        if after > first:
            axes.add_patch(Rectangle(corner, *size, fill=False, color=SECOND))
    title = f"{title}: {low:.2f} to {high:.2f} of an even share"
    axes.set(yticks=range(len(words)), title=title, xlabel="time (s)")
    axes.set_yticklabels(words, fontsize=10)
    spoken = [n for n, (first, after) in enumerate(spans) if after > first]
    own = sum(spans[n][0] <= weights[n].argmax() < spans[n][1] for n in spoken)
    most = f"{own} of {len(spoken)} words have their largest weight in their own span"
    axes.set_label(f"{title}; {most}.")


def mapped(
    source: np.ndarray,
    target: np.ndarray,
    pairs: Mapping[int, int],
    axes: Axes,
    title: str,
) -> None:
    """Draw one cloud of words over another, and a line from where some words are to
    where they belong.

    Args:
        source, target: (words, 2) each, on the same two axes.
        pairs: source word to target word, of the words to mark.
        axes: where to draw.
        title: what to see.
    """
    axes.scatter(*target.T, s=4, color=INK, alpha=0.5, label="target")
    axes.scatter(*source.T, s=4, color=ACCENT, alpha=0.5, label="mapped source")
    for word, place in pairs.items():
        axes.plot(*zip(source[word], target[place], strict=True), color=SECOND)
        axes.plot(*source[word], "o", color=SECOND, markersize=6)
    axes.set(title=title, xlabel="axis 1 (cosine)", ylabel="axis 2 (cosine)")
    axes.label_outer()


def histories(
    runs: Sequence[np.ndarray],
    marked: Sequence[bool],
    axes: Axes,
    title: str,
    start: int = 0,
) -> None:
    """Draw one thin line per run over its epochs, and a thick one for those marked.

    Args:
        runs: (epochs,) each.
        marked: whether to mark each.
        axes: where to draw.
        title: what is drawn, with its unit.
        start: number of the first epoch.
    """
    for values, strong in zip(runs, marked, strict=True):
        style = {"color": ACCENT if strong else SECOND, "linewidth": 1 + strong}
        axes.plot(start + np.arange(len(values)), values, **style)
    axes.set_title(title, fontsize=10.5)
    axes.set_xlabel("epoch")
    axes.label_outer()


def successes(tries: pd.DataFrame, panels: Sequence[Axes], name: str) -> None:
    """Draw how many seeds succeed, over noise and dimensions, a panel per size.

    Args:
        tries: a row per seed: `words`, `noise`, `dims`, and `succeeded`, which is None
            where nothing could be found; that is drawn as a dash.
        panels: where to draw, one for each number of words.
        name: of the way, for the titles.
    """
    by_words = tries.astype({"succeeded": float}).groupby("words")
    for axes, (words, own) in zip(panels, by_words, strict=True):
        seeds = own.groupby(["noise", "dims"])["succeeded"]
        counts = seeds.sum(min_count=1).unstack()  # nan: nothing to find
        axes.imshow(counts, cmap=PALE, vmin=0, vmax=seeds.size().max(), aspect="auto")
        numbers(counts.to_numpy(), axes)
        axes.set(xticks=range(counts.shape[1]), xticklabels=counts.columns)
        axes.set(yticks=range(counts.shape[0]), yticklabels=counts.index)
        axes.set(xlabel="dimensions", ylabel="noise")
        axes.set_title(f"{name}\n{words:,} words", fontsize=10)
        axes.label_outer()


def waveform(
    samples: np.ndarray,
    rate: int,
    axes: Axes,
    words: Sequence[Segment] = (),
    colour: str = ACCENT,
) -> None:
    """Draw a waveform with its words under it.

    Args:
        samples: (samples,) in [-1, 1].
        rate: samples per second.
        axes: where to draw.
        words: alignment in seconds; boundaries are drawn as thin lines.
        colour: of the waveform.
    """
    axes.plot(np.arange(len(samples)) / rate, samples, color=colour, linewidth=0.4)
    for word in words:
        axes.axvline(word.start, color=INK, linewidth=0.5)
        middle = (word.start + word.end) / 2
        axes.text(
            middle,
            -1.12,
            word.label,
            rotation=60,
            ha="right",
            va="top",
            rotation_mode="anchor",
            fontsize=10,
        )
    axes.set(ylim=(-1, 1), ylabel="amplitude", xlim=(0, len(samples) / rate))


def segments(segments: Sequence[Segment], axes: Axes, name: str) -> None:
    """Draw words or phonemes as coloured stretches with their labels; those of more
    than four alternate in height.

    Args:
        segments: in seconds.
        axes: where to draw.
        name: what they are.
    """
    heights = (0.5, 0.5) if len(segments) < 5 else (0.27, 0.73)
    for number, one in enumerate(segments):
        colour = (ACCENT, SECOND)[number % 2]
        axes.axvspan(one.start, one.end, color=colour, alpha=0.25, linewidth=0)
        place = ((one.start + one.end) / 2, heights[number % 2])
        axes.text(*place, one.label, ha="center", va="center", fontsize=10)
    axes.set(ylim=(0, 1), yticks=[])
    axes.set_ylabel(name, fontsize=10)


def frames(values: np.ndarray, hop: float, axes: Axes) -> None:
    """Draw a feature over time, each of its numbers standardised.

    Args:
        values: (frames, dims).
        hop: seconds from one frame to the next.
        axes: where to draw.
    """
    scaled = (values - values.mean(axis=0)) / values.std(axis=0)
    axes.imshow(
        scaled.T,
        aspect="auto",
        origin="lower",
        cmap="cividis",
        extent=(0, hop * len(values), 0.5, values.shape[1] + 0.5),
        vmin=-2.5,
        vmax=2.5,
    )


def spectrogram(
    samples: np.ndarray, rate: int, axes: Axes, top: float = 8_000, size: int = 400
) -> None:
    """Draw the level of every frequency over time, 60 dB deep: a frame every 10 ms.

    Args:
        samples: (samples,) in [-1, 1].
        rate: samples per second.
        axes: where to draw.
        top: highest frequency that is shown, in Hz.
        size: samples of a frame, under a Hamming window.
    """
    hop = rate // 100
    cut = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    spectrum = np.fft.rfft(cut * np.hamming(size), max(512, size))
    level = 10 * np.log10(np.abs(spectrum) ** 2 + 1e-12).T
    first = (size - hop) / 2 / rate  # a frame is drawn as the 10 ms in its middle
    axes.imshow(
        level,
        aspect="auto",
        origin="lower",
        cmap=SHADES,
        extent=(first, first + len(cut) / 100, 0, rate / 2000),
        vmin=level.max() - 60,
        vmax=level.max(),
        interpolation="nearest",
    )
    axes.set(xlim=(0, len(samples) / rate), ylim=(0, top / 1000))
    axes.set(xlabel="time (s)", ylabel="frequency (kHz)")


def crosses(
    table: pd.DataFrame, x: str, y: str, axes: Axes, names: Mapping[str, str]
) -> None:
    """Draw one point per row of a study, with the intervals of two measures.

    Args:
        table: of a study, indexed by what is named; a measure's interval is in the
            columns `x low` and `x high`.
        x, y: the two measures.
        axes: where to draw; zero is marked on both.
        names: row to its name in the legend. A name has the same look in every panel
            that is given the same names; those without a row are left out.
    """
    for number, (row, name) in enumerate(names.items()):
        if row not in table.index:
            continue
        low, value, high = (
            table.loc[row, [f"{x}{end}", f"{y}{end}"]].to_numpy(float)
            for end in (" low", "", " high")
        )
        errors = np.stack([value - low, high - value], axis=1)[:, :, None]
        look = {
            "fmt": "os^Dvp*X"[number % 8],
            "color": f"C{number % 5}",
            "markersize": 6,
        }
        axes.errorbar(*value, xerr=errors[0], yerr=errors[1], label=name, **look)
    axes.axhline(0, color=INK, linewidth=0.6)
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.set(xlabel=x, ylabel=y)


def traces(
    recording: Recording, names: Sequence[str], title: str, felt: pd.DataFrame | None
) -> None:
    """Draw what annotators say of a recording, a panel per dimension.

    Args:
        recording: with labels.
        names: of its dimensions, one for each column of the labels.
        title: of the figure.
        felt: seconds to what the subject felt, a column per dimension; None where
            nobody knows.
    """
    _, panels = plt.subplots(len(names), 1, figsize=(5.6, 5.2), sharex=True)
    times = recording.hop * np.arange(len(recording.labels))
    for curve, name, axes in zip(recording.labels.T, names, panels, strict=True):
        axes.plot(times, curve, label="what annotators say")
        if felt is not None:
            axes.plot(felt.index, felt[name], "--", label="what is felt")
        _turns(axes, recording)
        axes.set(ylim=(-1, 1), ylabel=name)
    panels[0].legend(loc="lower right", ncols=2)
    panels[0].set_title(title)
    panels[-1].set_xlabel("time (s); grey: the subject speaks")


def fusion(weights: Mapping[str, np.ndarray], recording: Recording) -> Figure:
    """Draw how much an attention to two vectors takes of the first, over a recording.

    Args:
        weights: names of the two vectors, joined by a comma and a space, to the weight
            of the first one at every label, (labels,); see
            `models.tzirakis2021.Disentangled`.
        recording: that they are of.
    """
    how = {"figsize": (5.6, 5), "sharex": True, "squeeze": False}
    figure, grid = plt.subplots(len(weights), 1, **how)
    panels = grid[:, 0]
    panels[-1].set_xlabel(f"time (s) in {recording.id}; grey: the subject speaks")
    swings = []
    for (pair, share), axes in zip(weights.items(), panels, strict=True):
        first = pair.split(", ")[0]
        axes.plot(recording.hop * np.arange(len(share)), share)
        _turns(axes, recording)
        axes.set(ylim=(0, 1), ylabel=f"weight of {first}")
        axes.set_title(f"attention to {pair.replace(', ', ' and ')}", fontsize=10)
        span = f"{np.min(share):.2f} to {np.max(share):.2f}"
        swings.append(f"{first} {np.median(share):.2f}, {span}")
    said = f"Weights in {recording.id}, median and range: {'; '.join(swings)}."
    figure.set_label(said)
    return figure


def _turns(axes: Axes, recording: Recording) -> None:
    """Shade when the subject of a recording speaks, on axes over seconds."""
    for _, start, end in recording.turns:
        axes.axvspan(start, end, color=INK, alpha=0.13, linewidth=0)


def learning(
    history: pd.DataFrame, title: str, ylabel: str = "cross-entropy (nats)"
) -> Figure:
    """Draw training and development loss over updates, one thin line per run.

    Args:
        history: columns `run`, `step`, `train_loss`, `dev_loss`.
        title: what to see.
        ylabel: the loss, with its unit.
    """
    figure, axes = plt.subplots()
    for name, label, colour in (
        ("train_loss", "training", ACCENT),
        ("dev_loss", "development", SECOND),
    ):
        for number, (_, run) in enumerate(history.groupby("run")):
            axes.plot(
                run["step"],
                run[name],
                color=colour,
                linewidth=1,
                label=None if number else label,
            )
    axes.set(xlabel="updates", ylabel=ylabel, title=title)
    axes.legend()
    each = history.groupby("run")[["train_loss", "dev_loss"]]
    start, low, end = (getattr(each, of)().mean() for of in ("first", "min", "last"))
    told = [
        f"{label} from {start[name]:.2f} to {end[name]:.2f}, lowest {low[name]:.2f}"
        for name, label in (("train_loss", "training"), ("dev_loss", "development"))
    ]
    of = f"mean of {len(each)} runs" if len(each) > 1 else "one run"
    axes.set_label(f"{title}. {ylabel} over updates, {of}: {'; '.join(told)}.")
    return figure
