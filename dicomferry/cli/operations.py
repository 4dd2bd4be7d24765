"""`dicomferry operations`: what jobs are doing, and did."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from dicomferry.cli.options import DEFAULT_ROOT, Root
from dicomferry.cli.output import console, list_failures, printable, say, suggest
from dicomferry.jobs import dataflow
from dicomferry.operations import operations
from dicomferry.operations.operations import Operation, OperationFolder
from dicomferry.resource_names import DatasetName, parse_store
from dicomferry.storage.registry import open_storage

operations_app = typer.Typer(help="What jobs are doing, and did.", no_args_is_help=True)


@operations_app.command("list")
def list_operations(root: Root = DEFAULT_ROOT) -> None:
    """List operations, the newest first."""
    table = Table("id", "what", "store", "state", "done", "failed", box=None)
    reader = dataflow.OperationReader()
    for folder in operations.list_operations(open_storage(root), DatasetName()):
        operation = reader.read(folder)
        metadata = operation["metadata"]
        table.add_row(
            folder.id,
            metadata["apiMethodName"].rpartition(".")[2].removesuffix("DicomData").lower(),
            Text(printable(parse_store(operation["store"]).id)),
            _state(operation),
            metadata["counter"].get("success", "0"),
            metadata["counter"].get("failure", "0"),
        )
    console.print(table)


@operations_app.command("describe")
def describe_operation(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Show an operation, in the API's JSON, and what became of the files that failed."""
    folder = OperationFolder(open_storage(root), DatasetName(), operation_id.rpartition("/")[2])
    console.print_json(data=dataflow.read(folder))
    list_failures(folder, limit=20)


@operations_app.command("cancel")
def cancel_operation(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Ask a job to end, wherever it runs; what it committed stays.

    Example: [bold]dicomferry operations cancel 20261124193740-ac319da9[/bold]
    """
    folder = OperationFolder(open_storage(root), DatasetName(), operation_id.rpartition("/")[2])
    if dataflow.read(folder)["done"]:
        say(f"{folder.name} has ended already")
        return
    dataflow.request_cancel(folder)
    say(f"{folder.name}: asked to end")
    suggest(f"dicomferry operations describe {folder.id}", root)


def _state(operation: Operation) -> str:
    if not operation["done"]:
        return "queued" if operation.get("queued") else "running"
    if "error" not in operation:
        return "done"
    return {1: "cancelled", 3: "done, with failures", 10: "aborted"}.get(
        operation["error"]["code"], "failed"
    )
