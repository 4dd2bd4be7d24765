"""Where the corpus of real files lies; tests that use it skip where it is missing."""

from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "dicom-corpus"


def corpus_files() -> list[Path]:
    """Return all files of the corpus, sorted; skips the test where there is no corpus."""
    if not CORPUS.is_dir():
        pytest.skip(f"the corpus of real files is missing: {CORPUS}")
    return sorted(
        path
        for path in CORPUS.rglob("*")
        if path.is_file()
        and path.name not in ("README.md", "inventory.csv")
        and "licences" not in path.parts
    )
