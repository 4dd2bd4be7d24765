"""Put what was measured into the README, between the comments that hold its place."""

from pathlib import Path

_README = Path(__file__).parents[1] / "README.md"


def write_block(name: str, text: str) -> bool:
    """Replace what is between `<!-- name -->` and `<!-- /name -->`; False if that is not there."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    readme = _README.read_text()
    before, found, rest = readme.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        return False
    _README.write_text(f"{before}{start}{text.strip()}\n{end}{after}")
    return True
