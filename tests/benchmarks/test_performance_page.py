"""A benchmark replaces its own block of docs/performance.md, and nothing else."""

import pytest

from benchmarks import performance_page

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
    """A page with two blocks."""
    path = tmp_path / "performance.md"
    path.write_text(TEXT)
    monkeypatch.setattr(performance_page, "_PAGE", path)
    return path


def test_only_what_is_between_its_comments_changes(file):
    for _ in range(2):
        assert performance_page.write_block("bench-x", "| new |\n")
        assert file.read_text() == TEXT.replace("old", "| new |")


def test_without_its_comments_nothing_changes(file):
    assert not performance_page.write_block("bench-y", "| new |")
    file.write_text("<!-- bench-x -->\nnever closed\n")
    assert not performance_page.write_block("bench-x", "| new |")
    assert file.read_text() == "<!-- bench-x -->\nnever closed\n"
