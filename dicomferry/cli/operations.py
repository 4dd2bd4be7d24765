"""`dicomferry operations`: show, cancel and forget jobs."""

import itertools
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any

import typer

from dicomferry.cli.job_report import failures_of
from dicomferry.cli.operation_text import row_of, write_list, write_operation
from dicomferry.cli.options import DEFAULT_ROOT, Root
from dicomferry.cli.output import errors, say, show, show_rows, suggest, warn, write, write_each
from dicomferry.cli.settings import settings
from dicomferry.jobs import elsewhere
from dicomferry.operations import listing
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.listing import delete_operation, list_operations
from dicomferry.operations.outcomes import ProgressCounter
from dicomferry.operations.record import now
from dicomferry.operations.state import State, state_in_words, state_of
from dicomferry.pipelines import exit_codes
from dicomferry.pipelines.summary_file import summary_of
from dicomferry.resource_names import DatasetName
from dicomferry.storage.registry import open_storage
from dicomferry.store import deletion
from dicomferry.store.dicom_store import list_stores
from dicomferry.store.kept_reads import delete_stale

_LOOK_SECONDS = 1.0
_EXIT_CODES = {State.DONE: 0, State.DONE_WITH_FAILURES: exit_codes.FILES_FAILED}

operations_app = typer.Typer(help="Show running and finished jobs.", no_args_is_help=True)


@operations_app.command("list")
def list_(
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the N newest.")
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """List operations, the newest first.

    Examples:
    [bold]dicomferry operations list --limit 10[/bold]
    [bold]dicomferry operations list --format jsonl | jq -r 'select(.failed > 0) | .id'[/bold]
    """

    shown = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal shown
        reader = elsewhere.OperationReader()
        listed = list_operations(open_storage(root), DatasetName())
        for folder, read in itertools.islice(listed, limit):
            shown += 1
            yield row_of(reader.reconcile(folder, read))

    show_rows(rows(), write_list)
    if not shown:
        say(f"No operations under {open_storage(root).root}")


@operations_app.command("describe")
def describe(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Show an operation: its request, how it ended, and why files failed.

    Example: [bold]dicomferry operations describe 20261124193740-ac319da9 --format json[/bold]
    """
    folder = OperationFolder(open_storage(root), DatasetName(), operation_id.rpartition("/")[2])
    record, failures = elsewhere.read(folder), failures_of(folder)
    value = {**record.to_json(), "state": state_of(record), "failures": failures}
    show(value, lambda: write_operation(record, folder, failures))


@operations_app.command("wait")
def wait(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Stop waiting after this time.")
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Wait until an operation ends, then show its state.

    Exits with 0 if it did its work, with 1 if files failed, with 2 if it is still running after
    --timeout, and with 3 if it ended in another way.

    Example: [bold]dicomferry operations wait 20261124193740-ac319da9[/bold]
    """
    folder = OperationFolder(open_storage(root), DatasetName(), operation_id.rpartition("/")[2])
    reader, until = elsewhere.OperationReader(), time.monotonic() + (timeout or 0)
    with errors.status("waiting", spinner="dots") as shown:
        if settings.quiet or settings.logs_json:
            shown.stop()
        while not (record := reader.read(folder)).done:
            if timeout is not None and time.monotonic() >= until:
                raise ValueError(f"{folder.id} is {state_of(record)} after {timeout:g} s")
            counter = record.metadata.counter or ProgressCounter()
            done = counter.success + counter.failure
            shown.update(f"{state_in_words(record)}: {done:,} of {done + counter.pending:,}")
            time.sleep(_LOOK_SECONDS)
    state = state_of(record)
    code = _EXIT_CODES.get(state, exit_codes.BROKEN)
    value = {**summary_of(record, folder, code), "state": state}
    show(value, lambda: write(f"{folder.id}: {state}"))
    if record.error:
        warn(record.error.message)
    raise typer.Exit(code)


@operations_app.command("delete")
def delete(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Delete the record of an operation that has ended or is unreadable.

    Its lists of outcomes go with it; what the job committed stays.

    Example: [bold]dicomferry operations delete 20261124193740-ac319da9[/bold]
    """
    folder = OperationFolder(open_storage(root), DatasetName(), operation_id.rpartition("/")[2])
    delete_operation(folder, elsewhere.read(folder))
    show({"id": folder.id, "name": folder.name}, lambda: write(f"Deleted {folder.name}"))


@operations_app.command("prune")
def prune(
    older_than: Annotated[
        str,
        typer.Option(
            metavar="AGE", help="Delete those that ended longer ago than this, such as 90d or 12h."
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List them, but delete nothing.")
    ] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Delete the records of operations that ended long ago, with their lists of outcomes.

    What their jobs committed stays. What processes that were killed have left of deleted stores
    and instances goes. An import whose record is gone cannot be named in
    --retry-failed any more.

    Example: [bold]dicomferry operations prune --older-than 90d[/bold]
    """
    before = now() - _age(older_than)
    pruned = 0

    def rows() -> Iterator[dict[str, str]]:
        nonlocal pruned
        for listed in listing.prune(open_storage(root), DatasetName(), before, dry_run=dry_run):
            pruned += 1
            yield {"id": listed.folder.id, "name": listed.folder.name}

    show_rows(rows(), lambda found: write_each(row["id"] for row in found))
    if not dry_run:
        deletion.sweep(open_storage(root), DatasetName())
        for store in list_stores(open_storage(root), DatasetName()):
            delete_stale(store.data)
    say(f"{pruned} operations {'would be' if dry_run else 'were'} deleted")


@operations_app.command("cancel")
def cancel(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Cancel a job on any machine; what it committed stays.

    Example: [bold]dicomferry operations cancel 20261124193740-ac319da9[/bold]
    """
    folder = OperationFolder(open_storage(root), DatasetName(), operation_id.rpartition("/")[2])
    is_done = elsewhere.read(folder).done
    elsewhere.request_cancel(folder)
    says = "has ended already" if is_done else "cancellation requested"
    value = {"id": folder.id, "name": folder.name, "cancelRequested": not is_done}
    show(value, lambda: write(f"{folder.name}: {says}"))
    if not is_done:
        suggest(f"dicomferry operations wait {folder.id}", root)


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,6})([dh])", text)
    if not match or not int(match[1]):
        raise ValueError(
            f"--older-than {text} must be a number of days or hours, 1 or more: 90d, 12h"
        )
    return timedelta(**{"days" if match[2] == "d" else "hours": int(match[1])})
