"""Write measured figures into docs/performance.md, between the comments that mark their place."""

from pathlib import Path

_PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def write_block(name: str, text: str) -> bool:
    """Replace the text between `<!-- name -->` and `<!-- /name -->`; False if there is none."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    page = _PAGE.read_text()
    before, opened, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        return False
    _PAGE.write_text(f"{before}{start}{text.strip()}\n{end}{after}")
    return True
