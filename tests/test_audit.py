"""What is not known is never told as clean, and what is vulnerable is never told as not known."""

import json
import sys

import pytest

from tests.audit import CLEAN, UNASKED, VULNERABLE, main

FINE = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


def stand_in(*answers):
    """A pip-audit that answers for the first lock, then for the second."""
    program = (
        "import sys; first = '-dev' not in ' '.join(sys.argv);"
        f"text, code = {answers!r}[0 if first else -1]; print(text);"
        "print('ERROR: no connection', file=sys.stderr); sys.exit(code)"
    )
    return [sys.executable, "-c", program]


def found(*versions):
    return json.dumps({"dependencies": versions, "fixes": []}), int(BAD in versions)


@pytest.mark.parametrize(
    ("answers", "code", "told"),
    [
        ([found(FINE)], CLEAN, "1 versions were asked about"),
        ([found(FINE, BAD)], VULNERABLE, "b 2: PYSEC-1, fixed in 3"),
        ([("", 1)], UNASKED, "could not be asked about: ERROR: no connection"),
        ([("null", 0)], UNASKED, "could not be asked about"),
        ([found()], UNASKED, "0 versions"),
        ([found(FINE, SKIPPED)], UNASKED, "could not be asked about: c"),
        ([("", 1), found(FINE, BAD)], VULNERABLE, "PYSEC-1"),
        ([found(FINE), ("", 1)], UNASKED, "no connection"),
    ],
)
def test_exit_codes_tell_vulnerable_from_not_known(answers, code, told, capsys):
    assert main(stand_in(*answers)) == code
    assert told in capsys.readouterr().out
