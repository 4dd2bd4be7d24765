"""`dicomferry operations`: show and cancel jobs."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dicomferry.cli.options import DEFAULT_ROOT, Root
from dicomferry.cli.output import console, list_failures, printable, say, suggest
from dicomferry.jobs import dataflow
from dicomferry.operations.folder import OperationFolder, list_operations
from dicomferry.operations.outcomes import ProgressCounter
from dicomferry.operations.state import state_of
from dicomferry.resource_names import DatasetName
from dicomferry.storage.registry import open_storage

operations_app = typer.Typer(help="Show running and finished jobs.", no_args_is_help=True)


@operations_app.command("list")
def list_(root: Root = DEFAULT_ROOT) -> None:
    """List operations, the newest first."""
    table = Table("id", "method", "store", "state", "succeeded", "failed", box=None)
    reader = dataflow.OperationReader()
    for folder in list_operations(open_storage(root), DatasetName()):
        record = reader.read(folder)
        counter = record.metadata.counter or ProgressCounter()
        table.add_row(
            folder.id,
            record.metadata.method.verb.lower(),
            Text(printable(record.store.id)),
            state_of(record),
            str(counter.success),
            str(counter.failure),
        )
    console.print(table)


@operations_app.command("describe")
def describe(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Show an operation as JSON, and why files failed."""
    folder = OperationFolder(open_storage(root), DatasetName(), operation_id.rpartition("/")[2])
    console.print_json(data=dataflow.read(folder).to_json())
    list_failures(folder, limit=20)


@operations_app.command("cancel")
def cancel(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Cancel a job, wherever it runs; what it committed stays.

    Example: [bold]dicomferry operations cancel 20261124193740-ac319da9[/bold]
    """
    folder = OperationFolder(open_storage(root), DatasetName(), operation_id.rpartition("/")[2])
    if dataflow.read(folder).done:
        say(f"{folder.name} has ended already")
        return
    dataflow.request_cancel(folder)
    say(f"{folder.name}: cancellation requested")
    suggest(f"dicomferry operations describe {folder.id}", root)
