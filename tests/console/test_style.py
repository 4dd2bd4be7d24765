"""The style sheet: what it draws can be seen, in light and in dark."""

import re
from importlib.resources import files
from itertools import product

import pytest

from dicomferry.operations.outcomes import Outcome

STYLE = files("dicomferry.console").joinpath("static/style.css").read_text()
GROUNDS = ("ground", "card", "track")
# Of lines that only divide, and of edges of fields, which WCAG 2.2 (1.4.11) asks 3:1 of.
LINES, EDGES = ("line",), ("edge",)
LIGHT, DARK = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)


def colors(block):
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block))


def luminance(color):
    """Relative luminance by WCAG 2.2."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("block", [LIGHT, DARK], ids=["light", "dark"])
def test_texts_and_bars_have_contrast_on_every_ground(block):
    known = colors(block)
    drawn = set(known) - {*GROUNDS, *LINES, *EDGES}
    assert len(drawn) > 8
    low = [
        (name, ground)
        for name, ground in product(drawn, GROUNDS)
        if contrast(known[name], known[ground]) < 4.5
    ]
    assert low == []
    assert contrast(known["edge"], known["card"]) >= 3 <= contrast(known["edge"], known["ground"])


def test_both_have_the_same_colors_and_no_other_is_used():
    assert set(colors(LIGHT)) == set(colors(DARK))
    rules = STYLE.replace(LIGHT, "").replace(DARK, "")
    assert set(re.findall(r"#[0-9a-f]{3,6}\b", rules)) == {"#101316"}  # behind pictures
    assert set(re.findall(r"var\(--(\w+)\)", rules)) - {"hue"} == set(colors(LIGHT))


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_a_color(outcome):
    assert re.search(rf"\.{outcome}\b[^{{]*\{{ --hue: var\(--\w+\)", STYLE)
