"""Standard output that is closed, full, or read by a program that has read enough."""

import os
import sys

import pytest

from dicomferry.cli import main
from dicomferry.cli.settings import settings
from tests.pipelines.jobs import STORE

COMMANDS = [
    ["stores", "list", "--format=jsonl"],
    ["stores", "list", "--format=json"],
    ["stores", "describe", STORE.id],
    ["operations", "list"],
]


@pytest.fixture
def run(monkeypatch, store):
    """Run a command with this standard output; return its exit code."""

    def run(stdout, *arguments):
        monkeypatch.setattr(sys, "argv", ["dicomferry", *arguments, f"--root={store.root}"])
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as end:
            main.main()
        assert sys.stdout is stdout
        if stdout:
            stdout.close()
        return end.value.code

    yield run
    settings.__init__()


def read_enough():
    """The standard output of `| true`."""
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w", encoding="utf-8")


def full():
    """The standard output of `> /dev/full`."""
    return open("/dev/full", "w", encoding="utf-8")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_read_enough_leaves_the_command_its_own_code(run, capsys, command):
    assert run(read_enough(), *command) == 0
    assert run(read_enough(), "stores", "describe", "none") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "none" in error


@pytest.mark.parametrize("command", COMMANDS)
def test_a_result_that_nobody_sees_is_told(run, capsys, command):
    assert run(None, *command) == 0
    assert capsys.readouterr().err == "standard output is closed, so the result cannot be printed\n"


def test_a_command_without_a_result_says_nothing_of_it(run, capsys):
    assert run(None, "stores", "vacuum", STORE.id, "-q") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_is_full_is_an_error(run, capsys, command):
    assert run(full(), *command) == 3
    [line] = capsys.readouterr().err.splitlines()
    assert line == "error: standard output cannot be written (No space left on device)"


def test_a_job_that_is_done_is_told_as_such(run, capsys, store, tmp_path):
    command = ["stores", "delete", STORE.id, "--yes", "--format=json"]
    assert run(full(), *command) == 3
    error = capsys.readouterr().err
    assert "the job itself is done: `dicomferry operations describe " in error
    assert f"--root {store.root}`" in error
