"""Output of commands: results for people or for programs, prose, and the next command to try."""

import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from dicomferry.cli.columns import Layout, fit
from dicomferry.cli.options import DEFAULT_ROOT
from dicomferry.cli.settings import OutputFormat, settings
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store import dicom_store

console = Console()
errors = Console(stderr=True)
_LOGGER = logging.getLogger(__name__)


def find_store(root: str, name: str) -> dicom_store.DicomStore:
    """Return the store of a name below a root."""
    return dicom_store.get_store(open_storage(root), parse_store(name))


def show(value: Mapping[str, Any], for_people: Callable[[], None]) -> None:
    """Show the result of a command.

    Args:
        value: for programs.
        for_people: prints it for people, with `write`.
    """
    if settings.is_table:
        for_people()
    elif settings.format is OutputFormat.JSON:
        print(json.dumps(value, indent=2), flush=True)
    else:
        print(json.dumps(value), flush=True)


def show_rows(
    rows: Iterable[Mapping[str, Any]],
    for_people: Callable[[Iterable[Mapping[str, Any]]], None],
) -> None:
    """Show the results of a command, of which there are none, one or many; one by one.

    Args:
        rows: for programs.
        for_people: prints them for people, with `write`.
    """
    if settings.is_table:
        for_people(rows)
    elif settings.format is OutputFormat.JSONL:
        for row in rows:
            sys.stdout.write(f"{json.dumps(row)}\n")
    else:
        comma = ""
        sys.stdout.write("[")
        for row in rows:
            sys.stdout.write(f"{comma}\n  {json.dumps(row)}")
            comma = ","
        sys.stdout.write("\n]\n" if comma else "]\n")


def write(line: str, style: str = "") -> None:
    """Write a line of a result for people as it is: names in it can look like markup to rich."""
    _print(console, line, style)


def write_each(lines: Iterable[str]) -> None:
    """Write lines of a result for people, as they come."""
    for line in lines:
        write(line)


def write_columns(rows: Sequence[Sequence[str]], layout: Layout = Layout()) -> None:  # noqa: B008
    """Write rows of text in columns that fit the terminal; the first row has the heads."""
    shown = [[printable(text) for text in row] for row in rows]
    width = console.width if console.is_terminal else None
    for line in fit(shown, layout, width):
        print(line, file=console.file)


def write_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Write names and texts one below the other; fields without a text are left out."""
    known = [(name, text) for name, text in fields if text]
    widest = max((len(name) for name, _ in known), default=0)
    for name, text in known:
        write(f"{name:{widest}}  {text}")


def say(line: str, style: str = "") -> None:
    """Say something beside the result: not with --quiet, and never among JSON."""
    if settings.quiet:
        return
    if settings.logs_json:
        _LOGGER.warning("%s", line, extra={"severity": "INFO"})
    else:
        _print(console if settings.is_table else errors, line, style)


def warn(line: str) -> None:
    """Say on standard error what a person has to know."""
    if settings.logs_json:
        _LOGGER.warning("%s", line)
    else:
        _print(errors, line, "")


def fail(message: str) -> None:
    """Say on standard error why the command ends."""
    if settings.logs_json:
        _LOGGER.error("%s", printable(message))
    else:
        line = Text.assemble(("error:", "red"), " ", printable(message))
        errors.print(line, soft_wrap=True, highlight=False, emoji=False)


def confirm(question: str) -> None:
    """Ask whether to go on; the command ends with 1 if not.

    Raises:
        ValueError: standard input gives no answer.
    """
    try:
        is_wanted = sys.stdin is not None and typer.confirm(question, err=not settings.is_table)
    except typer.Abort as abort:
        if not isinstance(abort.__context__, EOFError):
            raise KeyboardInterrupt from None
        raise ValueError("cannot ask for confirmation here: add --yes") from None
    if sys.stdin is None:
        raise ValueError("cannot ask for confirmation here: add --yes")
    if not is_wanted:
        raise typer.Exit(1)


def suggest(command: str, root: str) -> None:
    """Say the next command to try, with the root of this one."""
    say(f"next: {with_root(command, root)}", style="bold")


def with_root(command: str, root: str) -> str:
    """Return a command with the root of this one, where it is not the one that is used anyway."""
    if root not in (DEFAULT_ROOT, os.environ.get("DICOMFERRY_ROOT")):
        command = f"{command} --root {shlex.quote(root)}"
    return command


def printable(text: str) -> str:
    """Escape characters that a terminal would act on, such as those of `\\x1b[31m`."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def _print(where: Console, line: str, style: str) -> None:
    where.print(
        printable(line), soft_wrap=True, highlight=False, markup=False, emoji=False, style=style
    )
