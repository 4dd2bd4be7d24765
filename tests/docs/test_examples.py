"""The examples in the help of every command: each runs, up to the job or server that it starts."""

import re
import shlex
from collections.abc import Iterator

import pytest
import zstandard
from typer.testing import CliRunner

from dicomferry.cli import settings
from dicomferry.cli.main import app
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.record import Method
from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.resource_names import StoreName
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store, get_store
from dicomferry.transforms.commit_instances import commit
from tests.docs.blocks import all_commands
from tests.factories import make_instance
from tests.pipelines.jobs import STORE

TRIAL = StoreName(STORE.parent, "trial")


def examples() -> Iterator[tuple[str, list[str]]]:
    """Every example, by the words of its command, without what a shell does with its output."""
    for path, command in all_commands():
        for text in re.findall(r"\[bold\](.*?)\[/bold\]", command.help or "", re.DOTALL):
            words = shlex.split(text.replace("\\\n", " "))
            if words[0] == "dicomferry":
                end = next((n for n, word in enumerate(words) if word in ("|", ">>")), None)
                yield path, words[1:end]


EXAMPLES = list(examples())
IDS = [" ".join(words) for _, words in EXAMPLES]


def test_every_command_has_examples_of_itself():
    assert {path for path, _ in EXAMPLES} == {path for path, _ in all_commands()}
    for path, words in EXAMPLES:
        assert " ".join(words).startswith(path), words


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with what the examples name: a store, a finished operation, and files."""
    monkeypatch.chdir(tmp_path)
    root = open_storage(f"{tmp_path}/dicomferry-data")
    monkeypatch.delenv("DICOMFERRY_ROOT", raising=False)
    create_store(root, TRIAL)
    for name in ("patient.txt", "series.txt"):
        (tmp_path / name).write_text("/studies/1.2.1")
    [named] = {
        word for _, words in EXAMPLES for word in words if re.fullmatch(r"\d{14}-[0-9a-f]{8}", word)
    }
    operation = OperationFolder(root, TRIAL.parent, named)
    operation.start(TRIAL, Method.IMPORT)
    record = operation.read()
    record.finish()
    operation.write(record)
    yield operation
    settings.settings.__init__()


@pytest.mark.parametrize(
    ("path", "words"), EXAMPLES, ids=[" ".join(words) for _, words in EXAMPLES]
)
def test_an_example_runs(folder, monkeypatch, path, words):
    asked = []

    def ask(request, options, _):
        request.check()
        asked.append(request)
        return folder.read()

    for program in (import_dicom, export_dicom):
        monkeypatch.setattr(program, "run", ask)
    monkeypatch.setattr("dicomferry.server.serve", lambda *_: asked.append("serve"))
    monkeypatch.setattr("subprocess.run", lambda *_, **__: asked.append("demo") or Ended())
    monkeypatch.setattr("dicomferry.cli.import_export._warm_workers", lambda *_: None)
    if path == "stores create":
        words = [*words, "--root=other"]
    if path == "stores delete-instances":
        instance = make_instance(metadata=zstandard.compress(b"{}"))
        commit(get_store(folder.root, TRIAL).data, [instance], "op")
    done = CliRunner().invoke(app, words, input="y\n")
    assert done.exit_code == 0, (done.output, done.exception)
    is_job = path in ("import", "export files", "export table", "serve", "demo")
    assert bool(asked) == is_job


class Ended:
    """A process that has ended well."""

    returncode = 0
