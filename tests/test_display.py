"""Tables of the page: numbers to the right, no empty heading, nothing cut off; figures and players that say what they
are."""

from __future__ import annotations

import base64
import re
from html import unescape

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from serlib import display, listen, plots, tables
from serlib.corpora.corpus import Corpus
from serlib.metrics import Interval


def cells(html: str, tag: str) -> dict[str, str]:
    """What a table's cells say, and how each is aligned."""
    found = re.findall(rf"<{tag}[^>]*text-align: (\w+)[^>]*>([^<]*)</{tag}>", html)
    return {unescape(text): side for side, text in found}


def test_numbers_stand_to_the_right_under_their_heading_and_text_to_the_left() -> None:
    columns = {"points": ["+1.9 [0.3, 3.5]", ""], "p": ["< 0.001", "0.2"], "conclusion": ["it holds", "2 do not"]}
    html = display.table(pd.DataFrame(columns, index=pd.Index(["a − b", "a − c"], name="pair")))
    assert cells(html, "td") == {
        "+1.9 [0.3, 3.5]": "right",
        "": "right",
        "< 0.001": "right",
        "0.2": "right",
        "it holds": "left",
        "2 do not": "left",
    }
    headings = {"pair": "left", "points": "right", "p": "right", "conclusion": "left"}
    assert cells(html, "th") == {**headings, "a − b": "left", "a − c": "left"}
    assert html.count('scope="row"') == 2
    assert html.count('scope="col"') == 4


def test_no_table_shows_a_zero_with_a_minus() -> None:
    """Whether the number comes as text, with its interval or rounded by pandas; other cells stay as they are."""
    told = ["-0.0 [-0.0, 0.0]", "−0.00", "-0.04", "-0", "fold-0", "1e-05", "-10.0"]
    html = display.table(pd.DataFrame({"said": told, "rounded": pd.Series([-0.001] * len(told)).round(2)}))
    shown = re.findall(r"<td[^>]*>([^<]+)</td>", html)
    assert shown[::2] == ["0.0 [0.0, 0.0]", "0.00", "-0.04", "0", "fold-0", "1e-05", "-10.0"]
    assert shown[1::2] == ["0.0"] * len(told)
    assert tables.signed(Interval(estimate=-1e-6, low=-4e-4, high=0.002)) == "+0.0 [0.0, 0.2]"
    assert tables.signed(-0.0004) == "+0.0" and tables.percent(-0.0001) == "0.0"


def test_long_texts_and_all_columns_are_shown_whole() -> None:
    long = "what was found, " * 20 + "at last"
    html = display.table(pd.DataFrame([[long] * 40]))
    assert html.count(long) == 40
    assert "..." not in html


@pytest.mark.parametrize("name", [None, "system"])
def test_no_heading_is_empty(name: str | None) -> None:
    frame = pd.DataFrame({("ours", "UA"): ["61.0"], ("published", "UA"): ["71.8"]}, index=pd.Index(["a"], name=name))
    html = display.table(frame)
    assert not re.search(r"<th[^>]*></th>", html)
    assert [text for text in ("ours", "published", "UA", "61.0", "71.8") if text not in html] == []
    assert (name or "") in html


def test_names_of_rows_and_of_columns_are_both_kept() -> None:
    html = display.table(pd.crosstab(["right", "wrong"], ["right", "wrong"], rownames=["with"], colnames=["without"]))
    assert "with ↓, without →" in html


def test_text_that_looks_like_html_stays_text() -> None:
    html = display.table(pd.DataFrame({"a & b": ["<b>"]}))
    assert "&lt;b&gt;" in html
    assert "a &amp; b" in html


def test_a_figure_says_its_message_and_its_axes_once() -> None:
    figure, panels = plt.subplots(1, 2)
    for axes in panels:
        axes.set(title="The voice\ntells", xlabel="UA (%)")
    assert display.description(figure) == "The voice tells. Axes: UA (%)."
    figure.set_label("a description by hand")
    assert display.description(figure) == "a description by hand"
    plt.close(figure)


def test_a_panel_with_a_label_says_that_instead_of_its_title() -> None:
    figure, (left, right) = plt.subplots(1, 2)
    left.set(title="left", xlabel="time (s)")
    right.set(title="right", label="Right is higher.")
    assert display.description(figure) == "left. Axes: time (s). Right is higher."
    left.set_label("Left is lower.")
    assert display.description(figure) == "Left is lower. Right is higher."
    figure.suptitle("Two sides")
    assert display.description(figure) == "Two sides. Left is lower. Right is higher."
    plt.close(figure)


def test_plots_say_what_they_show() -> None:
    rows = pd.DataFrame({"estimate": [0.5, 0.8], "low": [0.4, 0.7], "high": [0.6, 0.9]}, ["deaf", "both"])
    figure = plots.scores(rows, ceilings={"voice": 0.6, "text": 0.61}, title="Two systems", xlabel="UA (%)")
    assert display.description(figure) == (
        "Two systems. UA (%): deaf 50.0; both 80.0. Lines: chance 25.0; voice 60.0; text 61.0."
    )
    heights = {text.get_text(): text.xyann[1] for text in figure.axes[0].texts}
    assert heights["chance"] == heights["voice"] < heights["text"]  # two names that would collide
    plt.close(figure)
    history = pd.DataFrame({"run": "one", "step": [1, 2, 3], "train_loss": [3.0, 2, 1], "dev_loss": [3.0, 1, 2]})
    figure = plots.learning(history, "It learns")
    assert "one run: training from 3.00 to 1.00, lowest 1.00; development from 3.00 to 2.00, lowest 1.00." in (
        display.description(figure)
    )
    plt.close(figure)
    figure, (left, middle, right) = plt.subplots(1, 3)
    plots.confusion(np.array([[8, 2], [1, 9]]), left, "ARE", ("angry", "sad"))
    plots.word_weights(pd.Index(["so", "sad"]), pd.Series([0.25, 0.75], ["so", "sad"]), middle, "One", {1: "black"})
    weights = np.array([[2.0, 1.0, 1.0], [0.5, 2.0, 0.5], [1.0, 1.0, 1.0]])
    plots.alignment(weights, np.array([[0, 1], [2, 3], [0, 0]]), ["so", "sad", "."], right, "words ask", 0.1)
    assert display.description(figure) == (
        "ARE: told rightly, in %: angry 80, sad 90. Most often wrong: angry taken for sad, 20 %. "
        "One. Most attention of 2 words: “sad” 0.75 (marked), “so” 0.25; an even share is 0.50. "
        "words ask: 0.50 to 2.00 of an even share; 1 of 2 words have their largest weight in their own span."
    )
    plt.close(figure)


@pytest.mark.parametrize("cell", ["all", "(8, 24)", "3", "−0.5 [−1.0, 0.0]"])
def test_settings_are_numbers(cell: str) -> None:
    assert 'right; white-space: nowrap">' + cell in display.table(pd.DataFrame({"paper": [cell, "5"]}))


def test_a_picture_comes_with_its_size_on_the_page() -> None:
    plots.use_style()
    figure, axes = plt.subplots(figsize=(5.6, 3.4))
    axes.set_title("One message")
    data, beside = display.picture(figure)
    assert base64.b64decode(data).startswith(b"\x89PNG")
    assert beside["alt"] == "One message"
    assert beside["width"] == pytest.approx(5.6 * 150 * display.SCALE, abs=20)
    plt.close(figure)


def contrast(colour: tuple[float, ...], other: tuple[float, ...] = (1, 1, 1)) -> float:
    """The contrast of two colours, in [0, 1] each, as WCAG 2 defines it."""
    light = []
    for one in (colour, other):
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in one]
        light.append(float(np.dot([0.2126, 0.7152, 0.0722], linear)))
    return (max(light) + 0.05) / (min(light) + 0.05)


def on_dark(colour: tuple[float, ...]) -> tuple[float, ...]:
    """What the filter of book.css makes of a colour: invert(0.9), then hue-rotate(180deg)."""
    turned = np.array([[-0.574, 1.430, 0.144], [0.426, 0.430, 0.144], [0.426, 1.430, -0.856]])
    return tuple(np.clip(turned @ (0.9 - 0.8 * np.array(colour)), 0, 1))


def test_text_in_every_colour_of_the_figures_can_be_read_on_light_and_dark_pages() -> None:
    plots.use_style()
    palette = [plt.matplotlib.colors.to_rgb(one) for one in plt.rcParams["axes.prop_cycle"].by_key()["color"]]
    ink = plt.matplotlib.colors.to_rgb(plots.INK)
    for colour in [*palette, ink]:
        assert contrast(colour) >= 4.5, colour
        assert contrast(on_dark(colour), on_dark((1, 1, 1))) >= 4.5, colour
    strongest = np.array(plots.PALE(1.0))
    shade = tuple(strongest[:3] * strongest[3] + 1 - strongest[3])
    assert contrast((0, 0, 0), shade) >= 4.5
    assert contrast(on_dark((0, 0, 0)), on_dark(shade)) >= 4.5


def test_a_player_has_a_name_and_a_length() -> None:
    html = listen.player(np.zeros(16_000, dtype=np.float32), 16_000, "angry: “no & yes”").data
    assert 'aria-label="angry: “no &amp; yes”, 1.0\u00a0s"' in html
    assert "<figcaption>angry: “no &amp; yes”, 1.0\u00a0s</figcaption>" in html
    assert 'aria-label="sound of 1.0\u00a0s"' in listen.player(np.zeros(16_000, dtype=np.float32), 16_000).data


def test_words_are_cut_out_where_a_voice_first_says_them(synthetic: Corpus) -> None:
    said = {}
    for one in synthetic:
        for word in one.words:
            said.setdefault((one.speaker, word.label), word)
    able = sorted({speaker for speaker, word in said if word == "the"})
    html = listen.words(synthetic, ["the"], voices=2).data
    lengths = [said[voice, "the"].end - said[voice, "the"].start + 2 * listen.AROUND for voice in able[:2]]
    names = [f"“the”, {voice}, {length:.1f}\u00a0s" for voice, length in zip(able, lengths, strict=False)]
    assert re.findall('aria-label="([^"]*)"', html) == names
    with pytest.raises(ValueError, match="no voice of the corpus says all of the, xylophone"):
        listen.words(synthetic, ["the", "xylophone"])
