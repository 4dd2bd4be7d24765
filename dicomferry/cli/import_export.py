"""`dicomferry import` and `dicomferry export`: run a job and tell how it went."""

import os
import shlex
from collections.abc import Sequence
from typing import Annotated

import typer

from dicomferry.cli.options import BEAM_FLAGS, DEFAULT_ROOT, Root, StoreArgument
from dicomferry.cli.output import exit_with, report, say, suggest
from dicomferry.storage.registry import open_storage
from dicomferry.transforms.worker_pool import shared_pool

export_app = typer.Typer(help="Export the instances of a store.", no_args_is_help=True)


def import_(
    context: typer.Context,
    store: StoreArgument,
    source: Annotated[
        str, typer.Argument(help="File, or pattern with *, ? or ** in quotes; local or gs://.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check everything, store nothing.")
    ] = False,
    retry_failed: Annotated[
        str,
        typer.Option(metavar="OPERATION", help="Read again what failed in that import."),
    ] = "",
    on_conflict: Annotated[
        str, typer.Option(help="fail or ignore: whether a conflict counts as a failure.")
    ] = "fail",
    max_failures: Annotated[int, typer.Option(help="Exit with 0 up to this many.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes (default: one a core).")] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Import DICOM files into a store. Flags not listed go to Beam.

    Examples:
    [bold]dicomferry import trial '/data/**.dcm'[/bold]
    [bold]dicomferry import trial 'gs://bucket/incoming/**' --max-failures 10[/bold]
    [bold]dicomferry import trial --retry-failed 20261124161502-3f9a12cd[/bold]
    """
    _warm_workers(workers, context.args, "dicomferry.transforms.ingest")
    from dicomferry.cli.progress_bar import showing_progress
    from dicomferry.pipelines import import_dicom

    argv = [f"--store={store}", f"--source={source}", f"--root={root}"]
    argv += [f"--max-failures={max_failures}", f"--on-conflict={on_conflict}"]
    argv += [f"--retry-failed={retry_failed}"] + ["--dry-run"] * dry_run
    argv += [f"--workers={workers}"] * (workers is not None)
    config, options = import_dicom.parse_args([*argv, *context.args])
    with showing_progress("import") as show:
        operation = import_dicom.run(config, options, show)
    report(operation, config.root)
    if dry_run:
        suggest(f"dicomferry import {shlex.quote(store)} {shlex.quote(source)}", root)
    elif operation.error:
        retry = f"--retry-failed {operation.id}"
        suggest(f"dicomferry import {shlex.quote(store)} {retry}", root)
    else:
        suggest(f"dicomferry export files {shlex.quote(store)} ./out", root)
    exit_with(operation, max_failures)


@export_app.command("files", context_settings=BEAM_FLAGS)
def export_files(
    context: typer.Context,
    store: StoreArgument,
    destination: Annotated[str, typer.Argument(help="Folder or gs://bucket/prefix.")],
    mime_type: Annotated[
        str,
        typer.Option(help="What to write; `dicomferry formats` lists it (default: as uploaded)."),
    ] = "",
    filter_: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="FILE",
            help="Only what is below the paths in this file, local or gs://: "
            r"/studies/UID\[/series/UID\[/instances/UID]], one a line.",
        ),
    ] = "",
    snapshot: Annotated[
        int | None, typer.Option(help="Version of the store to export (default: newest).")
    ] = None,
    jpeg_quality: Annotated[int, typer.Option(help="4.50, 4.51, image/jpeg: 1 to 100.")] = 90,
    j2k_ratio: Annotated[float, typer.Option(help="4.91, 4.203: compression ratio.")] = 10.0,
    jpegls_near: Annotated[int, typer.Option(help="4.81: greatest error of a sample.")] = 2,
    jxl_distance: Annotated[float, typer.Option(help="4.112: Butteraugli distance.")] = 1.0,
    max_failures: Annotated[int, typer.Option(help="Exit with 0 up to this many.")] = 0,
    workers: Annotated[int | None, typer.Option(help="Processes (default: one a core).")] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    r"""Export instances as DESTINATION/{study}/{series}/{instance}\[/{frame}].{ext}.

    Examples:
    [bold]dicomferry export files trial ./out[/bold]
    [bold]dicomferry export files trial ./png --mime-type image/png --filter series.txt[/bold]
    [bold]dicomferry export files trial gs://b/j2k \\
      --mime-type 'application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90'[/bold]
    """
    _warm_workers(workers, context.args, "dicomferry.transforms.write_instance")
    from dicomferry.cli.progress_bar import showing_progress
    from dicomferry.pipelines import export_dicom

    argv = [f"--store={store}", f"--destination={destination}", f"--root={root}"]
    argv += [f"--max-failures={max_failures}"]
    argv += [f"--workers={workers}"] * (workers is not None)
    argv += [f"--snapshot={snapshot}"] * (snapshot is not None)
    argv += [f"--mime-type={mime_type}", f"--filter={filter_}", f"--jpeg-quality={jpeg_quality}"]
    argv += [f"--j2k-ratio={j2k_ratio}", f"--jpegls-near={jpegls_near}"]
    argv += [f"--jxl-distance={jxl_distance}"]
    config, options = export_dicom.parse_args([*argv, *context.args])
    with showing_progress("export") as show:
        operation = export_dicom.run(config, options, show)
    report(operation, config.root)
    say(f"files: {open_storage(destination).root}")
    exit_with(operation, max_failures)


@export_app.command("table", context_settings=BEAM_FLAGS)
def export_table(
    context: typer.Context,
    store: StoreArgument,
    table: Annotated[
        str,
        typer.Argument(
            help="bq://project.dataset.table, duckdb:FILE#schema.table or delta:FOLDER (or gs://)."
        ),
    ],
    write_disposition: Annotated[
        str,
        typer.Option(
            help="WRITE_EMPTY: the table must be new or empty; WRITE_TRUNCATE: old rows and old "
            "schema go; WRITE_APPEND: new columns are added."
        ),
    ] = "WRITE_EMPTY",
    schema: Annotated[
        str, typer.Option(help="flattened: a column an attribute; json: the DICOM JSON in one.")
    ] = "flattened",
    include_source_store: Annotated[
        bool, typer.Option("--include-source-store", help="Add the column SourceDicomStore.")
    ] = False,
    filter_: Annotated[
        str,
        typer.Option("--filter", metavar="FILE", help="As for `export files`."),
    ] = "",
    snapshot: Annotated[
        int | None, typer.Option(help="Version of the store to export (default: newest).")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes (default: one a core).")] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Export one row an instance to BigQuery, DuckDB or Delta (Parquet).

    Examples:
    [bold]dicomferry export table trial duckdb:trial.duckdb#dicom.instances[/bold]
    [bold]dicomferry export table trial bq://p.d.t --write-disposition WRITE_TRUNCATE[/bold]
    [bold]dicomferry export table trial delta:./trial-delta --schema json[/bold]
    """
    _warm_workers(workers, context.args, "dicomferry.transforms.write_rows")
    from dicomferry.cli.progress_bar import showing_progress
    from dicomferry.pipelines import export_dicom

    argv = [f"--store={store}", f"--table={table}", f"--root={root}", f"--filter={filter_}"]
    argv += [f"--write-disposition={write_disposition}", f"--schema={schema}"]
    argv += ["--include-source-store"] * include_source_store
    argv += [f"--workers={workers}"] * (workers is not None)
    argv += [f"--snapshot={snapshot}"] * (snapshot is not None)
    config, options = export_dicom.parse_args([*argv, *context.args])
    with showing_progress("export") as show:
        operation = export_dicom.run(config, options, show)
    report(operation, config.root)
    say(f"table: {table}")
    exit_with(operation, 0)


def _warm_workers(workers: int | None, beam_args: Sequence[str], module: str) -> None:
    """Start a local job's worker processes while this one spends two seconds on importing Beam."""
    if workers != 0 and not any(arg.startswith("--runner") for arg in beam_args):
        shared_pool(workers or os.cpu_count() or 1).warm(module)
