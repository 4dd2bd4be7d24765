"""A benchmark replaces its own block of the README, and nothing else."""

import pytest

from benchmarks import readme

TEXT = """# Title

<!-- bench-x -->
old
<!-- /bench-x -->

<!-- bench -->
other
<!-- /bench -->
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A README with two blocks."""
    path = tmp_path / "README.md"
    path.write_text(TEXT)
    monkeypatch.setattr(readme, "_README", path)
    return path


def test_only_what_is_between_its_comments_changes(file):
    for _ in range(2):
        assert readme.write_block("bench-x", "| new |\n")
        assert file.read_text() == TEXT.replace("old", "| new |")


def test_without_its_comments_nothing_changes(file):
    assert not readme.write_block("bench-y", "| new |")
    file.write_text("<!-- bench-x -->\nnever closed\n")
    assert not readme.write_block("bench-x", "| new |")
    assert file.read_text() == "<!-- bench-x -->\nnever closed\n"
