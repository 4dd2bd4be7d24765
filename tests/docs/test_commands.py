"""The commands of the pages are commands: they parse, and what they call has these flags."""

import argparse
import ast
import importlib.util
import re
import subprocess

import pytest

from dicomferry.pipelines.flag_table import REQUESTS
from dicomferry.pipelines.flags import flags_of
from tests.docs.blocks import all_commands
from tests.docs.pages import REPOSITORY, blocks, code_spans, command_lines, name, pages

_COMMANDS = dict(all_commands())
_PROGRAMS = {
    f"{package}.{pipeline}": request
    for package in ("pipelines", "dicomferry.pipelines")
    for pipeline, request in REQUESTS.items()
}
_TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
_SHELL = [*blocks("sh")]
_LINES = [
    *((block.page, words) for block in _SHELL for words in command_lines(block.text)),
    *(
        (page, words)
        for page in pages()
        for span in code_spans(page)
        if span.startswith(("dicomferry ", "python -m ", "make "))
        for words in command_lines(span)
    ),
]


def ids(line):
    page, words = line
    return f"{name(page)}: {' '.join(words)[:60]}"


def lines(*starts):
    """The command lines of the pages that begin so, without assignments and prompts before."""
    found = []
    for page, words in _LINES:
        rest = words
        while rest and (re.fullmatch(r"\w+=.*", rest[0]) or rest[0] == "$"):
            rest = rest[1:]
        if tuple(rest[: len(starts)]) == starts:
            found.append((page, rest[len(starts) :]))
    return found


@pytest.mark.parametrize("block", _SHELL, ids=lambda block: name(block.page))
def test_shell_parses(block):
    done = subprocess.run(
        ["bash", "-n"], check=False, input=block.text, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [*blocks("python")], ids=lambda block: name(block.page))
def test_python_parses(block):
    ast.parse(block.text)


@pytest.mark.parametrize("line", lines("dicomferry"), ids=ids)
def test_commands_and_their_flags_exist(line):
    _, words = line
    if words and words[0].isupper():
        return  # `dicomferry COMMAND --help`
    path, rest = "", list(words)
    while rest and path not in _COMMANDS and not rest[0].startswith("-"):
        path = f"{path} {rest.pop(0)}".strip()
    groups = {command.rpartition(" ")[0] for command in _COMMANDS}
    assert path in _COMMANDS or path in groups, words
    known = {"--help", "--version"}
    if path in _COMMANDS:
        known |= {flag for parameter in _COMMANDS[path].params for flag in parameter.opts}
    assert {word.partition("=")[0] for word in rest if word.startswith("-")} <= known, words


@pytest.mark.parametrize("line", lines("python", "-m"), ids=ids)
def test_programs_and_their_flags_exist(line):
    _, (module, *rest) = line
    if module in _PROGRAMS:
        flags = {flag.partition("=")[0] for flag in rest if flag.startswith("--")}
        ours = {flag.option for flag in flags_of(_PROGRAMS[module])}
        assert flags <= ours | _beam_flags(), rest
    else:
        assert importlib.util.find_spec(module), module


@pytest.mark.parametrize("line", lines("make"), ids=ids)
def test_targets_of_make_exist(line):
    _, words = line
    targets = [word for word in words if "=" not in word and not word.startswith("-")]
    assert set(targets) <= _TARGETS, words


def _beam_flags():
    from apache_beam.options.pipeline_options import PipelineOptions

    beam = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(beam)
    return {name for action in beam._actions for name in action.option_strings}
