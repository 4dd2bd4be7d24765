"""Output of commands: results, why files failed, the next command to try."""

import os
import shlex
from collections import Counter
from collections.abc import Sequence

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table

from dicomferry.cli.options import DEFAULT_ROOT
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import Outcome
from dicomferry.operations.record import OperationRecord
from dicomferry.operations.state import has_reached_end
from dicomferry.pipelines import exit_codes
from dicomferry.resource_names import parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.store import dicom_store

console = Console()
errors = Console(stderr=True)


def find_store(root: str, name: str) -> dicom_store.DicomStore:
    """Return the store of a name below a root."""
    return dicom_store.get_store(open_storage(root), parse_store(name))


def report(record: OperationRecord, root: Storage) -> None:
    """Show the results of a job: counts, the most common failures, where all outcomes are."""
    counts = record.outcome_counts
    table = Table("outcome", f"{record.metadata.method.noun}s", title=None)
    for outcome in Outcome:
        if number := counts.of(outcome):
            table.add_row(outcome, f"{number:,}")
    table.add_section()
    table.add_row("total", f"{record.total:,}")
    console.print(table)
    if known := counts.already_imported:
        console.print(f"{known:,} file{'s' * (known != 1)} already imported, skipped")
    folder = OperationFolder(root, record.store.parent, record.id)
    if counts.failures:
        list_failures(folder, limit=10)
    console.print(f"operation: {folder.id}", highlight=False)
    say(f"Results: {folder.storage.uri()}")
    if counts.warnings:
        console.print(
            f"{counts.warnings:,} values did not fit their columns: warnings-*.jsonl there"
        )
    for follower in record.metadata.lagging:
        say(f"not all was sent to {follower.resource}: {follower.message}")


def list_failures(folder: OperationFolder, limit: int) -> None:
    """Show why files failed, the most common reasons first, with an example of each."""
    reasons: Counter[tuple[str, str, str]] = Counter()
    examples: dict[tuple[str, str, str], str] = {}
    for outcome in folder.problems():
        key = outcome.get("code", ""), outcome.get("reason", ""), outcome.get("fault", "")
        reasons[key] += 1
        examples.setdefault(key, outcome["source"])
    if not reasons:
        return
    console.print("why files failed:")
    for why, number in reasons.most_common(limit):
        code, reason, fault = why
        say(f"  {number:,} × {code}: {reason}")
        if fault:
            say(f"      {fault}")
        say(f"      e.g. {examples[why]!r}")


def suggest(command: str, root: str) -> None:
    """Show the next command to try, with the root of this one."""
    if root not in (DEFAULT_ROOT, os.environ.get("DICOMFERRY_ROOT")):
        command = f"{command} --root {shlex.quote(root)}"
    say(f"next: {command}", style="bold")


def say(line: str, style: str = "") -> None:
    """Show a line as it is: names in it can look like markup to rich."""
    console.print(
        printable(line), soft_wrap=True, highlight=False, markup=False, emoji=False, style=style
    )


def say_columns(rows: Sequence[Sequence[str]]) -> None:
    """Show rows of text in columns; a table of rich takes a millisecond for each."""
    shown = [[printable(text) for text in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        padded = (set_cell_size(text, width) for text, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip(), file=console.file)


def printable(text: str) -> str:
    """Escape characters that a terminal would act on, such as those of `\\x1b[31m`."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def exit_with(record: OperationRecord, max_failures: int) -> None:
    """Exit as a job of this record does, unless that is well.

    Args:
        record: of a job that has ended.
        max_failures: files that may fail.
    """
    if record.error and not has_reached_end(record):
        errors.print(printable(record.error.message), soft_wrap=True, highlight=False, markup=False)
    if code := exit_codes.of_record(record, max_failures):
        raise typer.Exit(code)
