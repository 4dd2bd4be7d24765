"""`dicomferry import` and `dicomferry export`: run a job and report its outcome."""

import contextlib
import importlib
import os
import shlex
from collections.abc import Callable, Sequence
from typing import Any

import typer

from dicomferry.cli.job_report import exit_with, is_worth_a_retry, report
from dicomferry.cli.options import BEAM_FLAGS, DEFAULT_ROOT, FlagValues, to_argv, with_flags
from dicomferry.cli.output import say, suggest
from dicomferry.cli.progress import progress
from dicomferry.extras import without_gcp
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.record import OperationRecord
from dicomferry.operations.state import has_reached_end
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
    [bold]dicomferry import trial '/data/**.dcm' --dry-run --format json[/bold]
    [bold]dicomferry import trial --retry-failed 20261124193740-ac319da9[/bold]
    """
    from dicomferry.transforms.ingest import ingest_all

    _warm_workers(values["workers"], context.args, ingest_all)
    with progress("import") as on_progress:
        _import_beam(context.args)
        from dicomferry.pipelines import import_dicom

        argv = [*to_argv(values, ImportRequest), *context.args]
        request, options = import_dicom.parse_args(argv)
        operation = import_dicom.run(request, options, on_progress)
    report(operation, request.root, request.max_failures)
    if command := _next(operation, request, shlex.quote(values["store"])):
        suggest(command, values["root"] or DEFAULT_ROOT)
    exit_with(operation, request.max_failures)


def _next(operation: OperationRecord, request: ImportRequest, store: str) -> str:
    """Return the command to try after an import; '' if none would help."""
    folder = OperationFolder(request.root, operation.store.parent, operation.id)
    if request.dry_run:
        what = shlex.quote(request.source.uri) if request.source else ""
        return f"dicomferry import {store} {what or f'--retry-failed {request.retry_failed}'}"
    if operation.counts.failures and is_worth_a_retry(folder):
        return f"dicomferry import {store} --retry-failed {operation.id}"
    if operation.error and not has_reached_end(operation):
        return ""
    has_any = operation.outcome_counts.imported or operation.outcome_counts.skipped
    return f"dicomferry export files {store} ./out" if has_any else ""


import_app.command("import", context_settings=BEAM_FLAGS)(
    with_flags(_import, ImportRequest, arguments=("store", "source"))
)


def _export_files(context: typer.Context, values: FlagValues) -> None:
    r"""Export instances as DESTINATION/{study}/{series}/{instance}\[/{frame}].{ext}.

    Examples:
    [bold]dicomferry export files trial ./out[/bold]
    [bold]dicomferry export files trial ./png --to png --skip-without-pixels[/bold]
    [bold]dicomferry export files trial gs://bucket/j2k --to j2k --filter series.txt[/bold]
    [bold]dicomferry export files trial ./raw \
      --to 'application/octet-stream; transfer-syntax=*'[/bold]
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
    with progress("export", "instance") as on_progress:
        _import_beam(context.args)
        from dicomferry.pipelines import export_dicom

        argv = [*to_argv(values, ExportRequest), *context.args]
        request, options = export_dicom.parse_args(argv)
        operation = export_dicom.run(request, options, on_progress)
    report(operation, request.root, request.max_failures)
    return request, operation


def _import_beam(beam_args: Sequence[str]) -> None:
    """Import Beam; only with what the local runner needs where no flag of Beam was given."""
    with contextlib.nullcontext() if beam_args else without_gcp():
        importlib.import_module("apache_beam")


def _warm_workers(
    workers: int | None, beam_args: Sequence[str], function: Callable[..., Any]
) -> None:
    """Start a local job's worker processes while this one spends two seconds on importing Beam."""
    if workers != 0 and not any(arg.startswith("--runner") for arg in beam_args):
        shared_pool(workers or os.cpu_count() or 1).warm(function)
