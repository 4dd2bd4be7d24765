"""`dicomferry operations`: show, cancel and forget jobs."""

import itertools
import re
import time
from datetime import timedelta
from typing import Annotated

import typer

from dicomferry.cli.options import DEFAULT_ROOT, Root
from dicomferry.cli.output import (
    console,
    errors,
    list_failures,
    printable,
    say,
    say_columns,
    suggest,
)
from dicomferry.jobs import elsewhere
from dicomferry.operations import listing
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.listing import delete_operation, list_operations
from dicomferry.operations.outcomes import ProgressCounter
from dicomferry.operations.record import OperationRecord, now
from dicomferry.operations.state import State, state_in_words, state_of
from dicomferry.pipelines import exit_codes
from dicomferry.resource_names import DatasetName
from dicomferry.storage.registry import open_storage
from dicomferry.store import deletion

_LOOK_SECONDS = 1.0

operations_app = typer.Typer(help="Show running and finished jobs.", no_args_is_help=True)


@operations_app.command("list")
def list_(
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the N newest.")
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """List operations, the newest first."""
    reader = elsewhere.OperationReader()
    rows = [("id", "method", "store", "state", "succeeded", "failed", "of")]
    for folder, read in itertools.islice(list_operations(open_storage(root), DatasetName()), limit):
        record = reader.reconcile(folder, read)
        counter = record.metadata.counter or ProgressCounter()
        rows.append(
            (
                folder.id,
                record.metadata.method.verb.lower(),
                record.store.id,
                state_in_words(record),
                str(counter.success),
                str(counter.failure),
                _what(record),
            )
        )
    say_columns(rows)


@operations_app.command("describe")
def describe(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Show an operation as JSON, and why files failed."""
    folder = OperationFolder(open_storage(root), DatasetName(), operation_id.rpartition("/")[2])
    console.print_json(data=elsewhere.read(folder).to_json())
    list_failures(folder, limit=20)


@operations_app.command("wait")
def wait(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Wait no longer than this.")
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Wait until an operation has ended, and show its state.

    Exits with 0 if it did its work, with 1 if files failed, with 2 if it is still running after
    --timeout, and with 3 if it ended in another way.

    Example: [bold]dicomferry operations wait 20261124193740-ac319da9[/bold]
    """
    folder = OperationFolder(open_storage(root), DatasetName(), operation_id.rpartition("/")[2])
    reader, until = elsewhere.OperationReader(), time.monotonic() + (timeout or 0)
    with console.status("waiting") as shown:
        while not (record := reader.read(folder)).done:
            if timeout is not None and time.monotonic() >= until:
                raise ValueError(f"{folder.id} is {state_of(record)} after {timeout:g} s")
            counter = record.metadata.counter or ProgressCounter()
            done = counter.success + counter.failure
            shown.update(f"{state_in_words(record)}: {done:,} of {done + counter.pending:,}")
            time.sleep(_LOOK_SECONDS)
    state = state_of(record)
    say(f"{folder.id}: {state}")
    if record.error:
        errors.print(printable(record.error.message), soft_wrap=True, highlight=False, markup=False)
    if state is not State.DONE:
        failed = state is State.DONE_WITH_FAILURES
        raise typer.Exit(exit_codes.FILES_FAILED if failed else exit_codes.BROKEN)


@operations_app.command("delete")
def delete(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Delete the record of an operation that has ended, or that cannot be read.

    Its lists of outcomes go with it; what the job committed stays.
    """
    folder = OperationFolder(open_storage(root), DatasetName(), operation_id.rpartition("/")[2])
    delete_operation(folder, elsewhere.read(folder))
    say(f"Deleted {folder.name}")


@operations_app.command("prune")
def prune(
    older_than: Annotated[
        str,
        typer.Option(
            metavar="AGE", help="Those that ended longer ago than this, such as 90d or 12h."
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Delete the records of operations that ended long ago, with their lists of outcomes.

    What their jobs committed stays. What processes that were killed have left of deleted stores
    goes. An import whose record is gone cannot be named in
    --retry-failed any more.

    Example: [bold]dicomferry operations prune --older-than 90d[/bold]
    """
    before = now() - _age(older_than)
    pruned = 0
    for listed in listing.prune(open_storage(root), DatasetName(), before, dry_run=dry_run):
        say(listed.folder.id)
        pruned += 1
    if not dry_run:
        deletion.sweep(open_storage(root), DatasetName())
    say(f"{pruned} operations {'would be' if dry_run else 'were'} deleted")


@operations_app.command("cancel")
def cancel(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Cancel a job, wherever it runs; what it committed stays.

    Example: [bold]dicomferry operations cancel 20261124193740-ac319da9[/bold]
    """
    folder = OperationFolder(open_storage(root), DatasetName(), operation_id.rpartition("/")[2])
    has_ended = elsewhere.read(folder).done
    elsewhere.request_cancel(folder)
    if has_ended:
        say(f"{folder.name} has ended already")
        return
    say(f"{folder.name}: cancellation requested")
    suggest(f"dicomferry operations describe {folder.id}", root)


def _what(record: OperationRecord) -> str:
    """Return the source or the destination."""
    flags = record.asked.flags if record.asked else {}
    named = (flags.get(name, "") for name in ("source", "destination", "table", "retry_failed"))
    return next(filter(None, named), "")


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,6})([dh])", text)
    if not match:
        raise ValueError(f"--older-than {text} must be a number of days or hours: 90d, 12h")
    return timedelta(**{"days" if match[2] == "d" else "hours": int(match[1])})
