"""What commands report of a job that has ended, for people or for programs."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import typer
from rich.table import Table

from dicomferry.cli.output import console, say, show, warn, with_root, write
from dicomferry.cli.standard_output import name_job
from dicomferry.errors import NO_RETRY, Reason
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import Outcome
from dicomferry.operations.record import OperationRecord
from dicomferry.operations.state import has_reached_end
from dicomferry.pipelines import exit_codes
from dicomferry.storage.base import Storage

Failure = dict[str, Any]


def report(record: OperationRecord, root: Storage, max_failures: int) -> None:
    """Show the results of a job: counts, why files failed, where all outcomes are.

    Args:
        record: of a job that has ended.
        root: where its store is.
        max_failures: files that may fail.
    """
    from dicomferry.pipelines.summary_file import summary_of

    folder = OperationFolder(root, record.store.parent, record.id)
    name_job(with_root(f"dicomferry operations describe {folder.id}", root.root))
    failures = failures_of(folder) if record.counts.failures else []
    value = summary_of(record, folder, exit_codes.of_record(record, max_failures))
    show(value | {"failures": failures}, lambda: _write_report(record, failures))
    say(f"operation: {folder.id}")
    say(f"Results: {folder.storage.uri()}")
    if warnings := record.outcome_counts.warnings:
        say(f"{warnings:,} values did not fit their columns; warnings-*.jsonl there lists them")
    for follower in record.metadata.lagging:
        warn(f"not everything was sent to {follower.resource}: {follower.message}")


def _write_report(record: OperationRecord, failures: Sequence[Failure]) -> None:
    counts = record.outcome_counts
    table = Table("outcome", f"{record.metadata.method.noun}s", title=None)
    for outcome in Outcome:
        if number := counts.of(outcome):
            is_tried = outcome is Outcome.IMPORTED and record.is_dry_run
            table.add_row("would be imported" if is_tried else outcome, f"{number:,}")
    table.add_section()
    table.add_row("total", f"{record.total:,}")
    console.print(table)
    if known := counts.already_imported:
        write(f"{known:,} file{'s' * (known != 1)} already imported, skipped")
    write_failures(failures, limit=10)
    if record.is_dry_run:
        write("dry run: nothing was stored")


def failures_of(folder: OperationFolder) -> list[Failure]:
    """Return why files failed, the most common reason first, each with its first file."""
    reasons: Counter[tuple[str, str, str]] = Counter()
    examples: dict[tuple[str, str, str], str] = {}
    for outcome in folder.problems():
        key = outcome.get("code", ""), outcome.get("reason", ""), outcome.get("fault", "")
        reasons[key] += 1
        examples.setdefault(key, outcome["source"])
    return [
        {
            "code": code,
            "reason": reason,
            **({"fault": fault} if fault else {}),
            "count": number,
            "example": examples[code, reason, fault],
        }
        for (code, reason, fault), number in reasons.most_common()
    ]


def write_failures(failures: Sequence[Failure], limit: int) -> None:
    """Write why files failed, the most common reasons, for people."""
    if failures:
        write("why files failed:")
    for each in failures[:limit]:
        write(f"  {each['count']:,} × {each['code']}: {each['reason']}")
        if fault := each.get("fault"):
            write(f"      {fault}")
        write(f"      e.g. {each['example']!r}")
        if each["code"] == Reason.NO_PIXEL_DATA:
            write("      --skip-without-pixels counts these as skipped")


def is_worth_a_retry(folder: OperationFolder) -> bool:
    """Whether `--retry-failed` may read a file of this import with another result."""
    return any(outcome.get("code") not in NO_RETRY for outcome in folder.problems())


def exit_with(record: OperationRecord, max_failures: int) -> None:
    """Exit as a job of this record does, unless that is well.

    Args:
        record: of a job that has ended.
        max_failures: files that may fail.
    """
    if record.error and not has_reached_end(record):
        warn(record.error.message)
    if code := exit_codes.of_record(record, max_failures):
        raise typer.Exit(code)
