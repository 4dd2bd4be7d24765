"""What the pages name is there: linked pages and headings, files, modules."""

import importlib.util
import re

import pytest

from tests.docs.pages import REPOSITORY, anchors, code_spans, links, name, pages

_FILE = re.compile(r"[\w.-]+(/[\w.-]+)+\.(py|md|c|proto|toml|yaml|txt|in|json)|[\w.-]+(/[\w.-]+)+/")
_TOP = {path.name for path in REPOSITORY.iterdir() if path.is_dir()}
_ROOM = {path.name for path in (REPOSITORY / "dicomferry").iterdir() if path.is_dir()}
_FORMER = re.compile(
    r"(?<![\w.${}/])(tests/)?((headers|transcode|service)/\w+(\.py|/)|stores/\w+\.py)|tests/(?:stores)/"
)
# A table, and attributes of spans.
_OTHER_NAMES = {"dicomferry.appends"} | {
    f"dicomferry.{name}" for name in ("imported", "operation", "resource", "store", "total")
}
_TEXT = (".md", ".py", ".toml", ".proto", ".yaml", ".json", ".txt", "Makefile", "Dockerfile", "run")


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_link_leads_somewhere(page):
    for target in links(page):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} in {name(page)}"
        if anchor:
            assert anchor in anchors(linked), f"{target} in {name(page)}"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_file_that_is_named_exists(page):
    for span in code_spans(page):
        top = span.partition("/")[0]
        if not _FILE.fullmatch(span) or top not in _TOP | _ROOM:
            continue
        roots = (REPOSITORY, REPOSITORY / "dicomferry", page.parent)
        assert any((root / span).exists() for root in roots), f"{span} in {name(page)}"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_every_module_that_is_named_exists(page):
    for module in re.findall(r"\bdicomferry(?:\.[a-z_]\w*)+", page.read_text()):
        if module in _OTHER_NAMES:
            continue
        assert _exists(module), f"{module} in {name(page)}"


def test_nothing_names_a_folder_that_is_gone():
    tops = ("dicomferry", "pipelines", "transforms", "tests", "benchmarks", "deploy", "docs", ".ci")
    files = [path for path in REPOSITORY.iterdir() if path.is_file()]
    files += [path for top in tops for path in (REPOSITORY / top).rglob("*") if path.is_file()]
    for path in files:
        if path.name.endswith(_TEXT) and "requirements" not in path.name:
            assert not _FORMER.search(path.read_text()), path


def _exists(dotted: str) -> bool:
    """Whether a module is there, or what is named in it."""
    module, _, attribute = dotted.rpartition(".")
    try:
        if importlib.util.find_spec(dotted):
            return True
    except ModuleNotFoundError:
        pass
    try:
        return hasattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError:
        return False
