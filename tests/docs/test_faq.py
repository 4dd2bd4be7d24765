"""The commands and queries of docs/faq.md do what it says."""

import re
import subprocess
import sys

import pytest

from tests.docs.pages import REPOSITORY
from tests.docs.test_readme import folder, run  # noqa: F401

PAGE = (REPOSITORY / "docs" / "faq.md").read_text()


def blocks_of(section):
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_a_patient_is_exported_and_deleted_and_failures_are_counted(folder):  # noqa: F811
    assert run(["dicomferry", "stores", "create", "trial"], folder)[0] == 0
    assert run(["dicomferry", "import", "trial", "/data/incoming/**"], folder)[0] == 1
    printed = ""
    for language, text in blocks_of("Study by study") + blocks_of("Failures"):
        if language == "sh":
            code, output = run(text.split() + ["--yes"] * ("delete-instances" in text), folder)
            assert code == 0, output
        else:
            program = [sys.executable, "-c", text]
            done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=True)
            printed = done.stdout
    assert len(list((folder / "patient").rglob("*.dcm"))) == 1
    assert "TRUNCATED" in printed
    listed = run(["dicomferry", "stores", "metrics", "trial"], folder)[1]
    assert re.search(r"\b4\b", listed), "one of five instances is deleted"
