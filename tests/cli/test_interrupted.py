"""Ctrl-C ends a job with what is to be said about it, and no traceback."""

import sys
from types import SimpleNamespace

import pytest

from dicomferry.cli import entry, main
from dicomferry.operations.folder import start_operation
from dicomferry.operations.record import Method
from dicomferry.pipelines import import_dicom
from dicomferry.pipelines.job import Job
from dicomferry.store import maintenance
from tests.pipelines.jobs import STORE, new_store


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
    out, error = capsys.readouterr()
    assert said in error
    assert out == f"next: dicomferry import trial '/in/*.dcm' --root {root.root} --workers 0\n"


def test_of_the_command_while_a_library_cleans_up(monkeypatch, capsys, root):
    def interrupted(*_):
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("the writer is not closed")

    new_store(root)
    monkeypatch.setattr(maintenance, "optimize", interrupted)
    arguments = ["stores", "optimize", "trial", "--root", root.root]
    monkeypatch.setattr(sys, "argv", ["dicomferry", *arguments])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 130
    out, error = capsys.readouterr()
    assert error == "interrupted; what was committed stays, run it again to continue\n"
    assert out == f"next: dicomferry stores optimize trial --root {root.root}\n"


def test_of_the_starter_of_a_job_that_goes_on(monkeypatch, capsys, root):
    def interrupted(*_):
        with Job(SimpleNamespace(root=root, store=STORE), None, folder) as job:
            job.is_handed_over = True
            raise KeyboardInterrupt

    new_store(root)
    folder = start_operation(root, STORE, Method.IMPORT)
    monkeypatch.setattr(import_dicom, "run", interrupted)
    arguments = ["import", "trial", "/in/*.dcm", "--workers=0", f"--root={root.root}"]
    monkeypatch.setattr(sys, "argv", ["dicomferry", *arguments])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 130
    out, error = capsys.readouterr()
    assert "the job goes on" in error
    assert out == f"next: dicomferry operations wait {folder.id} --root {root.root}\n"
    assert not folder.read().done


def test_of_the_program(said, caplog, root):
    flags = ["--store=trial", f"--root={root.root}", "--source=/in/*.dcm", "--workers=0"]
    assert import_dicom.main(flags) == 130
    assert said in caplog.text


def test_of_the_command_while_it_is_imported(monkeypatch, capsys):
    def interrupted(name, *_):
        if name == "dicomferry.cli.main":
            raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "dicomferry.cli.main")
    monkeypatch.setattr(sys, "meta_path", [SimpleNamespace(find_spec=interrupted), *sys.meta_path])
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == 130
    assert capsys.readouterr() == ("", "interrupted before anything was done\n")
