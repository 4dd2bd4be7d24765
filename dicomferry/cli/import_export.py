"""`dicomferry import` and `dicomferry export`: run a job and report its outcome."""

import os
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import typer

from dicomferry.cli.options import BEAM_FLAGS, DEFAULT_ROOT, FlagValues, to_argv, with_flags
from dicomferry.cli.output import exit_with, report, say, suggest
from dicomferry.operations.record import OperationRecord
from dicomferry.pipelines import export_request
from dicomferry.pipelines.export_request import ExportRequest
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.storage.registry import open_storage
from dicomferry.transforms.worker_pool import shared_pool

import_app = typer.Typer()
export_app = typer.Typer(help="Export the instances of a store.", no_args_is_help=True)


def _import(context: typer.Context, values: FlagValues) -> None:
    """Import DICOM files into a store. Flags not listed go to Beam.

    Examples:
    [bold]dicomferry import trial '/data/**.dcm'[/bold]
    [bold]dicomferry import trial 'gs://bucket/incoming/**' --max-failures 10[/bold]
    [bold]dicomferry import trial --retry-failed 20261124161502-3f9a12cd[/bold]
    """
    from dicomferry.transforms.ingest import ingest_all

    _warm_workers(values["workers"], context.args, ingest_all)
    from dicomferry.pipelines import import_dicom
    from dicomferry.public.progress import progress_bar_or_lines

    argv = [*to_argv(values, ImportRequest), *context.args]
    request, options = import_dicom.parse_args(argv)
    with progress_bar_or_lines("import") as show:
        operation = import_dicom.run(request, options, show)
    report(operation, request.root)
    store, root = shlex.quote(values["store"]), values["root"] or DEFAULT_ROOT
    if request.dry_run:
        suggest(f"dicomferry import {store} {shlex.quote(values['source'])}", root)
    elif operation.counts.failures:
        retry = f"--retry-failed {operation.id}"
        suggest(f"dicomferry import {store} {retry}", root)
    elif not operation.error:
        suggest(f"dicomferry export files {store} ./out", root)
    exit_with(operation, request.max_failures)


import_app.command("import", context_settings=BEAM_FLAGS)(
    with_flags(_import, ImportRequest, arguments=("store", "source"))
)


def _export_files(context: typer.Context, values: FlagValues) -> None:
    r"""Export instances as DESTINATION/{study}/{series}/{instance}\[/{frame}].{ext}.

    Examples:
    [bold]dicomferry export files trial ./out[/bold]
    [bold]dicomferry export files trial ./png --mime-type image/png --filter series.txt[/bold]
    [bold]dicomferry export files trial gs://b/j2k \
      --mime-type 'application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90'[/bold]
    """
    from dicomferry.transforms.write_instance import write_all

    _warm_workers(values["workers"], context.args, write_all)
    request, operation = _export(context, values)
    say(f"files: {open_storage(values['destination']).root}")
    exit_with(operation, request.max_failures)


def _export_table(context: typer.Context, values: FlagValues) -> None:
    """Export one row per instance to BigQuery, DuckDB or Delta (Parquet).

    Examples:
    [bold]dicomferry export table trial duckdb:trial.duckdb#dicom.instances[/bold]
    [bold]dicomferry export table trial bq://project.dicom.t --write-disposition WRITE_APPEND[/bold]
    [bold]dicomferry export table trial delta:./trial-delta --schema json[/bold]
    """
    from dicomferry.transforms.write_rows import write_parts

    _warm_workers(values["workers"], context.args, write_parts)
    request, operation = _export(context, values)
    say(f"table: {values['table']}")
    exit_with(operation, request.max_failures)


for _name, _command, _argument in (
    (export_request.FILES, _export_files, "destination"),
    (export_request.TABLE, _export_table, "table"),
):
    export_app.command(_name, context_settings=BEAM_FLAGS)(
        with_flags(_command, ExportRequest, arguments=("store", _argument), group=_name)
    )


def _export(context: typer.Context, values: FlagValues) -> tuple[ExportRequest, OperationRecord]:
    from dicomferry.pipelines import export_dicom
    from dicomferry.public.progress import progress_bar_or_lines

    argv = [*to_argv(values, ExportRequest), *context.args]
    request, options = export_dicom.parse_args(argv)
    with progress_bar_or_lines("export") as show:
        operation = export_dicom.run(request, options, show)
    report(operation, request.root)
    return request, operation


def _warm_workers(
    workers: int | None, beam_args: Sequence[str], function: Callable[..., Any]
) -> None:
    """Start a local job's worker processes while this one spends two seconds on importing Beam."""
    if workers != 0 and not any(arg.startswith("--runner") for arg in beam_args):
        shared_pool(workers or os.cpu_count() or 1).warm(function)
