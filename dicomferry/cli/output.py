"""What commands tell people: what happened, why files failed, what to try next."""

import os
import shlex
from collections import Counter

import typer
from rich.console import Console
from rich.table import Table

from dicomferry.cli.options import DEFAULT_ROOT
from dicomferry.operations import operations
from dicomferry.operations.operations import Operation, OperationFolder
from dicomferry.resource_names import parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store import dicom_store

console = Console()
errors = Console(stderr=True)


def find_store(root: str, name: str) -> dicom_store.DicomStore:
    """The store of that name below a root."""
    return dicom_store.get_store(open_storage(root), parse_store(name))


def operation_id_of(operation: Operation) -> str:
    """The short id of an operation, which commands take."""
    return str(operation["name"]).rpartition("/")[2]


def report(operation: Operation, root: Storage) -> None:
    """Show what happened: counts, the first failures, where the list lies."""
    counts: Counter[str] = Counter(operation["counts"])
    table = Table("outcome", "files", title=None)
    for outcome in operations.OUTCOMES:
        if counts[outcome]:
            table.add_row(outcome, f"{counts[outcome]:,}")
    table.add_section()
    table.add_row("in all", f"{operation['total']:,}")
    console.print(table)
    if counts["already_imported"]:
        console.print(f"{counts['already_imported']:,} were known and not opened")
    folder = OperationFolder(
        root, parse_store(operation["store"]).parent, operation_id_of(operation)
    )
    if operations.failures(counts):
        list_failures(folder, limit=10)
    console.print(f"operation: {folder.id}", highlight=False)
    say(f"its lists: {folder.storage.uri()}")


def list_failures(folder: OperationFolder, limit: int) -> None:
    """Show why files failed, the most common reasons first, with an example of each."""
    reasons: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for outcome in folder.outcomes():
        if outcome["outcome"] in ("failed", "conflict"):
            key = outcome["code"], outcome["reason"]
            reasons[key] += 1
            examples.setdefault(key, outcome["source"])
    if not reasons:
        return
    console.print("why files failed:")
    for (code, reason), number in reasons.most_common(limit):
        say(f"  {number:,} × {code}: {reason}")
        say(f"      e.g. {examples[code, reason]!r}")


def suggest(command: str, root: str) -> None:
    """Show the next command to try, which must find the same stores."""
    if root not in (DEFAULT_ROOT, os.environ.get("DICOMFERRY_ROOT")):
        command = f"{command} --root {shlex.quote(root)}"
    say(f"next: {command}", style="bold")


def say(line: str, style: str = "") -> None:
    """Show a line as it is: names in it may hold what rich takes for markup, and worse."""
    console.print(
        printable(line), soft_wrap=True, highlight=False, markup=False, emoji=False, style=style
    )


def printable(text: str) -> str:
    """A text for a terminal, which must not take part of it for orders: `\\x1b[31m`."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def exit_with(operation: Operation, max_failures: int) -> None:
    """Leave with exit code 1 if more failed than may."""
    if operations.failures(Counter(operation["counts"])) > max_failures:
        raise typer.Exit(1)
