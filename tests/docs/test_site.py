"""The site of the documentation: `make docs` builds it, and fails on a link that leads nowhere."""

import re

import pytest

from tests.docs.pages import REPOSITORY, images, name, pages

_NAVIGATION = re.findall(r"\S+\.md$", (REPOSITORY / "mkdocs.yml").read_text(), re.MULTILINE)
_SHOWN = [page for page in map(name, pages()) if not page.startswith("tests/")]


def test_the_navigation_names_every_page_once():
    assert sorted(_NAVIGATION) == sorted(_SHOWN)


@pytest.mark.parametrize("page", [page for page in _SHOWN if page.startswith("docs/")])
def test_a_page_has_one_title(page):
    text = re.sub(r"^```.*?^```", "", (REPOSITORY / page).read_text(), flags=re.M | re.S)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1


def test_pictures_are_there_and_small():
    shown = {picture.resolve() for page in pages() for picture in images(page)}
    assert shown == {path.resolve() for path in (REPOSITORY / "docs" / "images").iterdir()}
    assert all(picture.stat().st_size < 150_000 for picture in shown)


def test_the_picture_of_the_data_s_way_fits_light_and_dark_pages():
    drawing = (REPOSITORY / "docs" / "images" / "data-flow.svg").read_text()
    rules = re.findall(r"^ +\.(\w+) \{", drawing, re.MULTILINE)
    assert sorted(rules) == sorted([*dict.fromkeys(rules)] * 2), "each class once for each scheme"
    assert set(re.findall(r'class="(\w+)"', drawing)) == set(rules)
