"""The messages that docs/troubleshooting.md explains are messages that the program has."""

import ast
import re

import pytest

from tests.docs.pages import REPOSITORY

PAGE = REPOSITORY / "docs" / "troubleshooting.md"
SECTION = PAGE.read_text().partition("## A job did not start, or broke")[2].partition("\n## ")[0]
MESSAGES = re.findall(r"^\| `([^`]+)`", SECTION, re.MULTILINE)


@pytest.fixture(scope="module")
def texts():
    """Every text in the code, the constant parts of f-strings apart."""
    found = []
    for folder in ("dicomferry", "pipelines", "transforms"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_explained_exists(message, texts):
    # Words in capitals stand for a value; what follows a colon may be put there by other code.
    parts = [part.strip() for part in re.split(r"'?\b[A-Z]+\b'?|…|(?<=: )", message)]
    for part in filter(None, parts):
        assert part in texts


def test_there_are_messages():
    assert len(MESSAGES) > 10
