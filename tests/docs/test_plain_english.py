"""What users read is plain English: without phrases that have confused readers before."""

import ast
import re

import pytest
from typer.testing import CliRunner

from dicomferry.cli.main import app
from dicomferry.errors import Reason
from dicomferry.pipelines.flag_table import REQUESTS
from dicomferry.pipelines.flags import flags_of
from tests.docs.blocks import all_commands
from tests.docs.pages import REPOSITORY, name, pages

# Each with what to write instead.
ODD = {
    r"\b(is|are|was|were|be) told\b": "is reported",
    r"\btold (as|apart|of)\b": "reported as, distinguished",
    r"\btak(e|es|en|ing) in\b": "import",
    r"\blies\b": "is",
    r"\bstands\b": "is",
    r"\banew\b": "again",
    r"\b(is|are|nobody) let in\b": "may call, has access",
    r"\bwhoever\b": "a user who",
    r"\b(can|cannot|to) be had\b": "is available",
    r"\basked for\b": "requested",
    r"(?<!there )\b(is|are) no (?!longer|more|such)\w+": "is not a",
    r"\b(line|row|path|column|entries) an? (line|row|path|attribute|list)\b": "per",
    r"\bone's own\b": "your own",
    r"\bgoes? round\b": "alternate",
    r"\bbegun again\b": "rebuilt",
    r"\bgo(es)? on (from|there|where)\b": "continues",
    r"\bone an? (line|row|page)\b": "one per line",
    r"\bthe most are\b": "at most … are allowed",
    r"(?<!same )\bas (after|by) an? \w+\b": "for example after",
    r"\bwhich and why\b": "every failure is listed in",
    r"\bnobody (sees|answers)\b": "cannot be seen",
    r"\blets? no\b": "allows only",
    r"\bg[ai]ves? the \w+ up\b": "gives up the job",
    r"\bstands? on\b": "uses",
    r"\b(be it|as ever)\b": "even if, as usual",
    r"\b(of|to|for) who may\b": "to callers who may",
    r"\btakes? along\b": "includes",
    r"\bbefalls?\b": "happens to",
    r"\b(has|have) none of (this|that|it|those)\b": "does not have",
}
_READ = [page for page in pages() if not name(page).startswith("tests/")]
_CODE = sorted(
    path
    for folder in ("dicomferry", "pipelines", "transforms")
    for path in (REPOSITORY / folder).rglob("*.py")
    if "generated" not in path.parts
)


def odd_phrases(text):
    """The banned phrases in a text, each with what is around it."""
    text = " ".join(text.split())
    return [
        f"…{text[max(match.start() - 40, 0) : match.end() + 20]}…: write {better!r}"
        for phrase, better in ODD.items()
        for match in re.finditer(phrase, text, re.IGNORECASE)
    ]


def messages(path):
    """The texts in a module that are no docstrings; of f-strings the constant parts."""
    tree = ast.parse(path.read_text())
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part for part in node.values if isinstance(part, ast.Constant)]
            yield "X".join(str(part.value) for part in parts)
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare
        ):
            yield node.value


def test_an_odd_phrase_is_found():
    assert odd_phrases("A conflict is\ntold as such.") and not odd_phrases("There is no store.")


@pytest.mark.parametrize("page", _READ, ids=name)
def test_pages(page):
    assert odd_phrases(page.read_text()) == []


@pytest.mark.parametrize("path", [path for path, _ in all_commands()])
def test_help(path):
    shown = CliRunner().invoke(app, [*path.split(), "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.exception
    assert odd_phrases(re.sub("[│─╭╮╰╯]", " ", shown.output)) == []


def test_reasons_and_flags():
    flags = [flag for request in REQUESTS.values() for flag in flags_of(request)]
    texts = [reason.sentence for reason in Reason] + [str(flag) for flag in flags]
    assert [odd for text in texts for odd in odd_phrases(text)] == []


def test_docstrings_of_the_python_api():
    modules = [REPOSITORY / "dicomferry" / "__init__.py"]
    modules += (REPOSITORY / "dicomferry" / "public").glob("*.py")
    trees = [ast.parse(module.read_text()) for module in modules]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, documented)]
    texts = [text for node in nodes if (text := ast.get_docstring(node))]
    assert len(texts) > 50
    assert [odd for text in texts for odd in odd_phrases(text)] == []


def test_the_help_of_make():
    texts = re.findall("  ## (.+)", (REPOSITORY / "Makefile").read_text())
    assert len(texts) > 10
    assert [odd for text in texts for odd in odd_phrases(text)] == []


def test_messages():
    found = {
        f"{path.relative_to(REPOSITORY)}: {odd}"
        for path in _CODE
        for text in messages(path)
        for odd in odd_phrases(text)
    }
    assert found == set()
