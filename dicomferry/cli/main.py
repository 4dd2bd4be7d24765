"""The command line: `dicomferry`."""

import gc
import logging
import sys
from importlib import metadata
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from dicomferry.api.errors import ApiError
from dicomferry.cli.formats import formats
from dicomferry.cli.import_export import export_app, import_
from dicomferry.cli.operations import operations_app
from dicomferry.cli.options import BEAM_FLAGS
from dicomferry.cli.output import errors, printable
from dicomferry.cli.preview import preview
from dicomferry.cli.serve import serve_
from dicomferry.cli.stores import stores_app
from dicomferry.cli.tokens import tokens_app
from dicomferry.jobs.dataflow_client import DataflowError

_INTERRUPTED = 130  # as shells report SIGINT
_COLLECT_AFTER = 50_000  # objects; Python's own is 700

app = typer.Typer(
    help="Bulk import and export for DICOM archives, as Apache Beam jobs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("import", context_settings=BEAM_FLAGS)(import_)
app.command("preview")(preview)
app.command("formats")(formats)
app.command("serve")(serve_)
app.add_typer(stores_app, name="stores")
app.add_typer(export_app, name="export")
app.add_typer(operations_app, name="operations")
app.add_typer(tokens_app, name="tokens")


def _print_version(requested: bool) -> None:
    if requested:
        print(f"dicomferry {metadata.version('dicomferry')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Bulk import and export for DICOM archives, as Apache Beam jobs, here or in the cloud."""


def _run() -> None:
    """Run the command. An interrupt leaves as it came: typer would exit without a word."""
    try:
        app()
    except SystemExit as end:
        if end.code != _INTERRUPTED:
            raise
        cause = end.__context__.__cause__ if end.__context__ else None
        raise cause if isinstance(cause, KeyboardInterrupt) else KeyboardInterrupt from None


def main() -> NoReturn:
    """Run the command line; a wrong request ends with its remedy and exit code 2."""
    # What Beam's modules make as they are imported stays; to look for garbage in it takes longer.
    gc.set_threshold(_COLLECT_AFTER)
    from dicomferry.pipelines.job import JobError
    from dicomferry.storage.failures import storage_errors, storage_message

    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    try:
        _run()
    except (JobError, ApiError, DataflowError, ValueError, LookupError) as error:
        message = escape(printable(str(error)))
        errors.print("[red]error:[/red]", message, soft_wrap=True, highlight=False, emoji=False)
        sys.exit(2)
    except storage_errors() as error:
        message = escape(printable(storage_message(error)))
        errors.print("[red]error:[/red]", message, soft_wrap=True, highlight=False, emoji=False)
        sys.exit(2)
    except KeyboardInterrupt as error:
        said = str(error) or "interrupted; what was committed stays, run it again to go on"
        errors.print(said, soft_wrap=True, highlight=False)
        sys.exit(_INTERRUPTED)
    sys.exit(0)
