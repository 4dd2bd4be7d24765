"""The site of the documentation: `make docs` builds it, and fails on a link that leads nowhere."""

import re

import pytest

from tests.docs.pages import REPOSITORY, name, pages

_NAVIGATION = re.findall(r"\S+\.md$", (REPOSITORY / "mkdocs.yml").read_text(), re.MULTILINE)
_SHOWN = [page for page in map(name, pages()) if not page.startswith("tests/")]


def test_the_navigation_names_every_page_once():
    assert sorted(_NAVIGATION) == sorted(_SHOWN)


@pytest.mark.parametrize("page", [page for page in _SHOWN if page.startswith("docs/")])
def test_a_page_has_one_title(page):
    text = re.sub(r"^```.*?^```", "", (REPOSITORY / page).read_text(), flags=re.M | re.S)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
