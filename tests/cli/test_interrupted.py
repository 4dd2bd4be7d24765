"""Ctrl-C ends a job with what is to be said about it, and no traceback."""

import sys

import pytest

from dicomferry.cli import main
from dicomferry.pipelines import import_dicom


@pytest.fixture(params=["interrupted: 3 of 5 files", ""])
def said(request, monkeypatch):
    """What an import that is interrupted says of itself."""

    def interrupted(*_):
        raise KeyboardInterrupt(*filter(None, [request.param]))

    monkeypatch.setattr(import_dicom, "run", interrupted)
    return request.param or "interrupted; what was committed stays"


def test_of_the_command(said, monkeypatch, capsys, root):
    flags = ["--root", root.root, "--workers", "0"]
    monkeypatch.setattr(sys, "argv", ["dicomferry", "import", "trial", "/in/*.dcm", *flags])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 130
    assert said in capsys.readouterr().err


def test_of_the_program(said, caplog, root):
    flags = ["--store=trial", f"--root={root.root}", "--source=/in/*.dcm", "--workers=0"]
    assert import_dicom.main(flags) == 130
    assert said in caplog.text
