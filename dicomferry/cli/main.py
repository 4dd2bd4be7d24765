"""The command line: `dicomferry`."""

import contextlib
import gc
import logging
import shlex
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from dicomferry.cli.lazy_commands import HELP_OPTIONS, LazyCommand, LazyGroup, lazy_group
from dicomferry.cli.standard_output import StandardOutput
from dicomferry.pipelines import log_format
from dicomferry.pipelines.log_format import LogFormat

_LOGGER = logging.getLogger(__name__)
_INTERRUPTED = 130  # as shells report SIGINT
_COLLECT_AFTER = 50_000  # objects; Python's own is 700

# Names and first sentences, for help and completion; a test compares them with the commands.
_COMMANDS: list[LazyCommand | LazyGroup] = [
    LazyCommand(
        "import",
        "Import DICOM files into a store. Flags not listed go to Beam.",
        "dicomferry.cli.import_export:import_app",
    ),
    LazyCommand(
        "demo",
        "Import real DICOM files into a store, export them again, and show the results.",
        "dicomferry.cli.demo:demo",
        has_common_options=False,
    ),
    LazyCommand(
        "preview",
        "Write an HTML page with a thumbnail of each series of a store.",
        "dicomferry.cli.preview:preview",
    ),
    LazyCommand(
        "formats",
        "Show the export formats, and which of them each stored transfer syntax allows.",
        "dicomferry.cli.formats:formats",
    ),
    LazyCommand(
        "serve",
        "Serve the API of Google's DicomService over REST and gRPC, and a console for browsers.",
        "dicomferry.cli.serve:serve_",
    ),
    lazy_group(
        "stores",
        "Create, show and maintain DICOM stores.",
        "dicomferry.cli.stores:stores_app",
        {
            "create": "Create a store.",
            "update": "Change labels and streams of a store; everything else stays the same.",
            "list": "List the stores of the local dataset.",
            "describe": "Show a store: its labels, its streams, and the location of its data.",
            "delete": "Delete a store and every instance in it.",
            "delete-instances": "Delete the studies, series and instances that a file lists.",
            "metrics": "Show the number of studies, series, instances and bytes.",
            "verify": "Check that every row's blob exists and has the right checksum.",
            "vacuum": "Delete blobs older than 7 days that no row points at; safe while jobs run.",
            "upgrade": "Upgrade a store to this version's format; no job may be running on it.",
            "optimize": "Sort the index into a few files, so that imports and exports read less of "
            "it.",
        },
    ),
    lazy_group(
        "export",
        "Export the instances of a store.",
        "dicomferry.cli.import_export:export_app",
        {
            "files": r"Export instances as DESTINATION/{study}/{series}/{instance}\[/{frame}]."
            "{ext}.",
            "table": "Export one row per instance to BigQuery, DuckDB or Delta (Parquet).",
        },
    ),
    lazy_group(
        "operations",
        "Show running and finished jobs.",
        "dicomferry.cli.operations:operations_app",
        {
            "list": "List operations, the newest first.",
            "describe": "Show an operation: its request, how it ended, and why files failed.",
            "wait": "Wait until an operation ends, then show its state.",
            "delete": "Delete the record of an operation that has ended or is unreadable.",
            "prune": "Delete the records of operations that ended long ago, with their lists of "
            "outcomes.",
            "cancel": "Cancel a job on any machine; what it committed stays.",
        },
    ),
    lazy_group(
        "tokens",
        "Create tokens for callers of a server that runs with --auth.",
        "dicomferry.cli.tokens:tokens_app",
        {
            "create": "Create a token: print its line for the auth file, and the token on standard "
            "error.",
        },
    ),
]


class _Root(LazyGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": _COMMANDS})

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **more: Any) -> Any:
        if log_format.is_requested(args):
            log_format.set_up(LogFormat.JSON, level=logging.WARNING)
        with _usage_errors():
            return super().make_context(info_name, args, *rest, **more)

    def invoke(self, ctx: Any) -> Any:
        with _usage_errors():
            return super().invoke(ctx)


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    """Log an error in the command line where the log is lines of JSON; typer would draw a box."""
    try:
        yield
    except typer._click.ClickException as error:
        if not log_format.is_json():
            raise
        _LOGGER.error("%s", error.format_message())
        raise typer.Exit(error.exit_code) from None


app = typer.Typer(
    cls=_Root,
    help="Bulk import and export for DICOM archives, as Apache Beam jobs.",
    no_args_is_help=True,
    context_settings={"help_option_names": HELP_OPTIONS},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


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


def load_command(*path: str) -> Any:
    """Import the command that a path names, such as `("export", "files")`."""
    command: Any = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    return command if isinstance(command, TyperGroup) else command.load()


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
    """Run the command line; an error ends with its remedy and its code of `exit_codes`."""
    # What Beam's modules make as they are imported stays; to look for garbage in it takes longer.
    gc.set_threshold(_COLLECT_AFTER)
    log_format.set_up(LogFormat.TEXT, level=logging.WARNING)
    with StandardOutput() as out:
        code, lost = out.end(_exit_code())
        if lost:
            from dicomferry.cli.output import fail, warn

            (fail if code else warn)(lost)
    gc.freeze()  # else the exit looks for garbage in all modules, which takes half a second
    sys.exit(code)


def _exit_code() -> int:
    """Run the command, and say why it ends if that is not well."""
    try:
        _run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt as error:
        return _interrupted(error)
    except Exception as error:
        message = _message(error)
        if message is None:
            if interrupt := _interrupt_behind(error):
                return _interrupted(interrupt)
            raise
        from dicomferry.cli.output import fail
        from dicomferry.pipelines import exit_codes

        fail(message)
        return exit_codes.of_error(error)
    return 0


def _interrupted(error: KeyboardInterrupt) -> int:
    """Say what was done before an interrupt and how to go on; return the exit code."""
    from dicomferry.cli.output import say, warn

    warn(str(error) or "interrupted; what was committed stays, run it again to continue")
    again = shlex.join(["dicomferry", *sys.argv[1:]])
    say(f"next: {getattr(error, 'next', again)}", style="bold")
    return _INTERRUPTED


def _interrupt_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the interrupt during which an error arose: libraries that clean up can raise another.

    pyarrow's ParquetWriter does, if it is interrupted as it closes its file.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error


def _message(error: Exception) -> str | None:
    """Return what to say of an error with a remedy; None for a fault of this program."""
    from dicomferry.api.errors import ApiError
    from dicomferry.extras import MissingExtraError, missing_extra
    from dicomferry.jobs.dataflow_client import DataflowError
    from dicomferry.pipelines.job import JobError
    from dicomferry.pipelines.job_service import EngineError
    from dicomferry.storage.failures import storage_errors, storage_message

    error = missing_extra(error) or error
    told = (
        JobError,
        ApiError,
        DataflowError,
        EngineError,
        MissingExtraError,
        ValueError,
        LookupError,
    )
    if isinstance(error, told):
        return str(error)
    if isinstance(error, storage_errors()):
        return storage_message(error)
    return None
