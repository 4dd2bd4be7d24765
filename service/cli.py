"""The command line: `dicomferry`."""

import json
import logging
import os
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service import dataflow
from service.errors import ApiError
from stores import dicom_store, maintenance, operations
from stores.names import DatasetName, parse_store
from stores.operations import Operation, OperationFolder
from stores.storage import Storage
from tables.destination import parse_destination
from transforms.worker_pool import shared_pool

_console = Console()
_errors = Console(stderr=True)

app = typer.Typer(
    help="Moves medical images in bulk: DICOM stores, import and export as Apache Beam jobs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
stores_app = typer.Typer(help="Create, look at and look after DICOM stores.", no_args_is_help=True)
export_app = typer.Typer(help="Export the instances of a store.", no_args_is_help=True)
operations_app = typer.Typer(help="What jobs are doing, and did.", no_args_is_help=True)
tokens_app = typer.Typer(
    help="Let others call a server that runs with --auth.", no_args_is_help=True
)
app.add_typer(stores_app, name="stores")
app.add_typer(export_app, name="export")
app.add_typer(operations_app, name="operations")
app.add_typer(tokens_app, name="tokens")

Root = Annotated[
    str,
    typer.Option(
        "--root",
        envvar="DICOMFERRY_ROOT",
        help="Where stores live: a folder or gs://bucket/prefix.",
    ),
]
StoreArgument = Annotated[str, typer.Argument(help="Id or full resource name of the store.")]
Labels = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="A label of the store, to find it by; up to 64."),
]
_DEFAULT_ROOT = "./dicomferry-data"
# Flags that we do not know are Beam's.
_BEAM_FLAGS = {"allow_extra_args": True, "ignore_unknown_options": True}


@stores_app.command("create")
def create(
    store: StoreArgument,
    stream_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TABLE",
            help="Append a row of every new instance to this table: bq://…, duckdb:… or delta:…; "
            "up to five.",
        ),
    ] = None,
    label: Labels = None,
    root: Root = _DEFAULT_ROOT,
) -> None:
    """Create a store.

    Examples:
    [bold]dicomferry stores create trial[/bold]
    [bold]dicomferry stores create trial --stream-to duckdb:trial.duckdb#dicom.instances[/bold]
    """
    resource = {"labels": _labels(label), "streamConfigs": _streams(stream_to)}
    resource = {field: value for field, value in resource.items() if value}
    made = dicom_store.create_store(Storage(root), parse_store(store), resource)
    _console.print(f"Created {made.name} in {made.data.root}", soft_wrap=True)
    _next(f"dicomferry import {store} '/data/**'", root)


@stores_app.command("update")
def update(
    store: StoreArgument,
    label: Labels = None,
    remove_label: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Take a label off.")
    ] = None,
    stream_to: Annotated[
        list[str] | None,
        typer.Option(metavar="TABLE", help="Stream to these tables from now on, and no others."),
    ] = None,
    no_streams: Annotated[bool, typer.Option("--no-streams", help="Stop all streams.")] = False,
    root: Root = _DEFAULT_ROOT,
) -> None:
    """Change a store's labels and streams; whatever is not named stays.

    Example: [bold]dicomferry stores update trial --label site=north --remove-label draft[/bold]
    """
    given, streams = _labels(label), _streams(stream_to)
    if streams and no_streams:
        raise ValueError("give either --stream-to or --no-streams")
    if not (given or remove_label or streams or no_streams):
        raise ValueError("name what to change: --label, --remove-label, --stream-to, --no-streams")

    def change(resource: dicom_store.Resource) -> dicom_store.Resource:
        labels = {**resource.get("labels", {}), **given}
        kept = {key: value for key, value in labels.items() if key not in (remove_label or [])}
        changed = {**resource, "labels": kept}
        if streams or no_streams:
            changed["streamConfigs"] = streams
        return {field: value for field, value in changed.items() if value}

    updated = dicom_store.update_store(Storage(root), parse_store(store), change)
    _console.print_json(data=updated.resource)


@stores_app.command("list")
def list_(
    filter_: Annotated[
        str,
        typer.Option(
            "--filter",
            help="Only stores whose labels match, such as 'labels.site=north AND NOT labels.draft='"
            "; = searches the text within the value.",
        ),
    ] = "",
    root: Root = _DEFAULT_ROOT,
) -> None:
    """List the stores of the local dataset."""
    from service.label_filter import parse_filter

    wanted = parse_filter(filter_)
    found = [
        store
        for store in dicom_store.list_stores(Storage(root), DatasetName())
        if wanted.matches(store.resource.get("labels", {}))
    ]
    if not found and filter_:
        _console.print("No store matches", highlight=False)
    elif not found:
        _console.print(f"No stores under {Storage(root).root}")
        _next("dicomferry stores create STORE", root)
    for store in found:
        _console.print(store.name.id, soft_wrap=True, markup=False, highlight=False)


@stores_app.command()
def describe(store: StoreArgument, root: Root = _DEFAULT_ROOT) -> None:
    """Show a store's resource, in the API's JSON, and where its data lies."""
    found = dicom_store.get_store(Storage(root), parse_store(store))
    _console.print_json(data=found.resource)
    _console.print(f"data: {found.data.root}", soft_wrap=True, highlight=False)


@stores_app.command()
def delete(
    store: StoreArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    root: Root = _DEFAULT_ROOT,
) -> None:
    """Delete a store and every instance in it."""
    name = parse_store(store)
    counts = maintenance.metrics(dicom_store.get_store(Storage(root), name))
    question = f"Delete {name} with its {counts['instanceCount']} instances for good?"
    if not yes and not typer.confirm(question):
        raise typer.Exit(1)
    dicom_store.delete_store(Storage(root), name)
    _console.print(f"Deleted {name}", soft_wrap=True)


@stores_app.command()
def metrics(store: StoreArgument, root: Root = _DEFAULT_ROOT) -> None:
    """Count studies, series, instances and bytes, in the API's JSON."""
    _console.print_json(data=maintenance.metrics(_store(root, store)))


@stores_app.command()
def verify(store: StoreArgument, root: Root = _DEFAULT_ROOT) -> None:
    """Check that every row's blob is there and its checksum right.

    Exits with 1 and lists the instances whose blob is missing or damaged.
    """
    checked = damaged = 0
    with _console.status("verifying") as status:
        for finding in maintenance.verify(_store(root, store)):
            checked += 1
            if finding.problem:
                damaged += 1
                _errors.print(f"{finding.sop_instance_uid}: {finding.problem}: {finding.blob}")
            if checked % 100 == 0:
                status.update(f"verifying: {checked} instances, {damaged} damaged")
    _console.print(f"{checked} instances, {damaged} damaged")
    raise typer.Exit(1 if damaged else 0)


@stores_app.command()
def vacuum(
    store: StoreArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
    root: Root = _DEFAULT_ROOT,
) -> None:
    """Delete blobs that no row points at and that are older than 7 days."""
    found = _store(root, store)
    removed = maintenance.vacuum(Storage(root), found, dry_run=dry_run)
    for path in removed:
        _console.print(path, soft_wrap=True, markup=False, highlight=False)
    _console.print(f"{len(removed)} blobs {'would be' if dry_run else 'were'} deleted")


@stores_app.command()
def optimize(store: StoreArgument, root: Root = _DEFAULT_ROOT) -> None:
    """Compact the index: fewer, larger files make lookups and exports faster."""
    before, after = maintenance.optimize(_store(root, store))
    _console.print(f"index files: {before} before, {after} now")


@app.command("import", context_settings=_BEAM_FLAGS)
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
    root: Root = _DEFAULT_ROOT,
) -> None:
    """Import DICOM files into a store. Flags not listed go to Beam.

    Examples:
    [bold]dicomferry import trial '/data/**.dcm'[/bold]
    [bold]dicomferry import trial 'gs://bucket/incoming/**' --max-failures 10[/bold]
    [bold]dicomferry import trial --retry-failed 20261124161502-3f9a12cd[/bold]
    """
    _warm_workers(workers, context.args, "transforms.ingest")
    from pipelines import import_dicom
    from service.progress_bar import showing_progress

    argv = [f"--store={store}", f"--source={source}", f"--root={root}"]
    argv += [f"--max-failures={max_failures}", f"--on-conflict={on_conflict}"]
    argv += [f"--retry-failed={retry_failed}"] + ["--dry-run"] * dry_run
    argv += [f"--workers={workers}"] * (workers is not None)
    config, options = import_dicom.parse_args([*argv, *context.args])
    with showing_progress("import") as show:
        operation = import_dicom.run(config, options, show)
    _report(operation, config.root)
    if dry_run:
        _next(f"dicomferry import {store} {shlex.quote(source)}", root)
    elif operation.get("error"):
        _next(f"dicomferry import {store} --retry-failed {_id(operation)}", root)
    else:
        _next(f"dicomferry export files {store} ./out", root)
    _exit(operation, max_failures)


@export_app.command("files", context_settings=_BEAM_FLAGS)
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
    root: Root = _DEFAULT_ROOT,
) -> None:
    r"""Export instances as DESTINATION/{study}/{series}/{instance}\[/{frame}].{ext}.

    Examples:
    [bold]dicomferry export files trial ./out[/bold]
    [bold]dicomferry export files trial ./png --mime-type image/png --filter series.txt[/bold]
    [bold]dicomferry export files trial gs://b/j2k \\
      --mime-type 'application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90'[/bold]
    """
    _warm_workers(workers, context.args, "transforms.write_instance")
    from pipelines import export_dicom
    from service.progress_bar import showing_progress

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
    _report(operation, config.root)
    _console.print(f"files: {Storage(destination).root}", soft_wrap=True, highlight=False)
    _exit(operation, max_failures)


@export_app.command("table", context_settings=_BEAM_FLAGS)
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
    root: Root = _DEFAULT_ROOT,
) -> None:
    """Export one row an instance to BigQuery, DuckDB or Delta (Parquet).

    Examples:
    [bold]dicomferry export table trial duckdb:trial.duckdb#dicom.instances[/bold]
    [bold]dicomferry export table trial bq://p.d.t --write-disposition WRITE_TRUNCATE[/bold]
    [bold]dicomferry export table trial delta:./trial-delta --schema json[/bold]
    """
    _warm_workers(workers, context.args, "transforms.write_rows")
    from pipelines import export_dicom
    from service.progress_bar import showing_progress

    argv = [f"--store={store}", f"--table={table}", f"--root={root}", f"--filter={filter_}"]
    argv += [f"--write-disposition={write_disposition}", f"--schema={schema}"]
    argv += ["--include-source-store"] * include_source_store
    argv += [f"--workers={workers}"] * (workers is not None)
    argv += [f"--snapshot={snapshot}"] * (snapshot is not None)
    config, options = export_dicom.parse_args([*argv, *context.args])
    with showing_progress("export") as show:
        operation = export_dicom.run(config, options, show)
    _report(operation, config.root)
    if warnings := operation["counts"].get("warnings"):
        _console.print(f"{warnings:,} values did not fit their columns: warnings-*.jsonl there")
    _console.print(f"table: {table}", soft_wrap=True, highlight=False)
    _exit(operation, 0)


@app.command()
def preview(
    store: StoreArgument,
    output: Annotated[str, typer.Option("--output", "-o", help="Page to write.")] = "preview.html",
    filter_: Annotated[
        str, typer.Option("--filter", metavar="FILE", help="As for `export files`.")
    ] = "",
    root: Root = _DEFAULT_ROOT,
) -> None:
    """Write one page of thumbnails, series by series: what is in a store at a glance.

    Example: [bold]dicomferry preview trial -o preview.html[/bold]
    """
    from service.preview import preview_page
    from stores.resource_paths import read_resource_paths

    found = _store(root, store)
    paths = read_resource_paths(filter_) if filter_ else None
    pieces = preview_page(found.data, f"DICOM store {found.name.id}", paths, os.cpu_count() or 1)
    folder, _, name = os.path.abspath(output).rpartition("/")
    with _console.status("rendering"):
        Storage(folder or "/").write(name, (piece.encode() for piece in pieces))
    _console.print(f"Open {output} in a browser", soft_wrap=True, highlight=False)


@app.command()
def formats(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the README shows it.")] = False,
) -> None:
    """Show what an export can be asked for, and what each stored syntax allows."""
    from transcode.formats import FORMATS, source_rows

    asked = [("MIME type", "single frame", "multi-frame")]
    for each in FORMATS:
        single = f"{{instance}}{each.extension}"
        multi = f"{{instance}}/{{frame}}{each.extension}" if each.per_frame else single
        asked.append((each.mime_type, single, multi))
    stored = [("stored as", "name", "decoded by", "can be exported as"), *source_rows()]
    for rows in (asked, stored):
        if markdown:
            print(_to_markdown(rows), end="\n\n")
        else:
            table = Table(*rows[0])
            for row in rows[1:]:
                table.add_row(*row)
            _console.print(table)


def _to_markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


@operations_app.command("list")
def list_operations(root: Root = _DEFAULT_ROOT) -> None:
    """List operations, the newest first."""
    table = Table("id", "what", "store", "state", "done", "failed", box=None)
    for folder in operations.list_operations(Storage(root), DatasetName()):
        operation = folder.read()
        metadata = operation["metadata"]
        table.add_row(
            folder.id,
            metadata["apiMethodName"].rpartition(".")[2].removesuffix("DicomData").lower(),
            parse_store(operation["store"]).id,
            _state(operation),
            metadata["counter"].get("success", "0"),
            metadata["counter"].get("failure", "0"),
        )
    _console.print(table)


@operations_app.command("describe")
def describe_operation(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    root: Root = _DEFAULT_ROOT,
) -> None:
    """Show an operation, in the API's JSON, and what became of the files that failed."""
    folder = OperationFolder(Storage(root), DatasetName(), operation_id.rpartition("/")[2])
    _console.print_json(data=dataflow.read(folder))
    _list_failures(folder, limit=20)


@operations_app.command("cancel")
def cancel_operation(
    operation_id: Annotated[str, typer.Argument(metavar="ID")],
    root: Root = _DEFAULT_ROOT,
) -> None:
    """Ask a job to end, wherever it runs; what it committed stays.

    Example: [bold]dicomferry operations cancel 20261124193740-ac319da9[/bold]
    """
    folder = OperationFolder(Storage(root), DatasetName(), operation_id.rpartition("/")[2])
    if dataflow.read(folder)["done"]:
        _console.print(f"{folder.name} has ended already", soft_wrap=True, highlight=False)
        return
    dataflow.request_cancel(folder)
    _console.print(f"{folder.name}: asked to end", soft_wrap=True, highlight=False)
    _next(f"dicomferry operations describe {folder.id}", root)


@app.command("serve")
def serve_(
    host: Annotated[
        str, typer.Option(help="Interface; any but this machine's own asks for --auth.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Of REST and the console; 0: any.")] = 8080,
    grpc_port: Annotated[int, typer.Option(help="Of gRPC; 0: any.")] = 9090,
    auth: Annotated[
        str, typer.Option(metavar="FILE", help="Tokens of those who may call, and what they may.")
    ] = "",
    allow_path: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Local folder that requests may read and write."),
    ] = None,
    allow_prefix: Annotated[
        list[str] | None,
        typer.Option(metavar="gs://…", help="Limit requests to these buckets or prefixes."),
    ] = None,
    root: Root = _DEFAULT_ROOT,
) -> None:
    """Serve the API of Google's DicomService, REST and gRPC, and a page to look at.

    Examples:
    [bold]dicomferry serve --allow-path /data[/bold]
    [bold]CLOUDSDK_API_ENDPOINT_OVERRIDES_HEALTHCARE=http://127.0.0.1:8080/ \
    gcloud healthcare dicom-stores list --dataset default --location local --project local[/bold]
    """
    from service.serve import Settings, serve

    logging.getLogger("service").setLevel(logging.INFO)
    settings = Settings(
        Storage(root),
        host,
        port,
        grpc_port,
        auth,
        tuple(allow_path or ()),
        tuple(allow_prefix or ()),
    )

    def announce(rest: int, grpc: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        _console.print(f"REST  http://{shown}:{rest}/v1/", markup=False, highlight=False)
        _console.print(f"gRPC  {shown}:{grpc}", markup=False, highlight=False)
        _console.print(f"page  http://{shown}:{rest}/", markup=False, highlight=False)

    serve(settings, announce)


@tokens_app.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="Whose it is, for logs and the console.")],
    permission: Annotated[
        list[str],
        typer.Option(metavar="PERMISSION", help="healthcare.dicomStores.import, or a pattern."),
    ],
    store: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="Store that it is for; or a dataset or project, for all in it; * for all.",
        ),
    ],
) -> None:
    """Make a token. Its line for the auth file is printed, and on standard error the token, once.

    Example:
    [bold]dicomferry tokens create airflow --store trial \\
      --permission healthcare.dicomStores.import --permission healthcare.operations.get \\
      >> auth.jsonl && chmod 600 auth.jsonl[/bold]
    """
    from service.access import make_token

    plain = ("*", "projects/")
    resources = [each if each.startswith(plain) else str(parse_store(each)) for each in store]
    token, entry = make_token(name, permission, resources)
    print(json.dumps(entry, ensure_ascii=False))
    _errors.print(f"token, shown only now: {token}", soft_wrap=True, highlight=False, markup=False)


def main() -> NoReturn:
    """Run the command line; a wrong request ends with its remedy and exit code 2."""
    from pipelines.job import STORAGE_ERRORS, JobError, storage_message

    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    try:
        app()
    except (JobError, ApiError, dataflow.DataflowError, ValueError, LookupError) as error:
        _errors.print("[red]error:[/red]", escape(str(error)), soft_wrap=True, highlight=False)
        sys.exit(2)
    except STORAGE_ERRORS as error:
        message = escape(storage_message(error))
        _errors.print("[red]error:[/red]", message, soft_wrap=True, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        _errors.print("interrupted; what was committed stays, run it again to go on")
        sys.exit(130)
    sys.exit(0)


def _warm_workers(workers: int | None, beam_args: Sequence[str], module: str) -> None:
    """Start a local job's worker processes while this one spends two seconds on importing Beam."""
    if workers != 0 and not any(arg.startswith("--runner") for arg in beam_args):
        shared_pool(workers or os.cpu_count() or 1).warm(module)


def _labels(texts: Sequence[str] | None) -> dict[str, str]:
    labels = {}
    for text in texts or []:
        key, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"--label {text} must be KEY=VALUE; VALUE may be empty")
        labels[key] = value
    return labels


def _streams(tables: Sequence[str] | None) -> list[dict[str, dict[str, str]]]:
    for table in tables or []:
        parse_destination(table)
    return [{"bigqueryDestination": {"tableUri": table}} for table in tables or []]


def _store(root: str, name: str) -> dicom_store.DicomStore:
    return dicom_store.get_store(Storage(root), parse_store(name))


def _id(operation: Operation) -> str:
    return str(operation["name"]).rpartition("/")[2]


def _state(operation: Operation) -> str:
    if not operation["done"]:
        return "running"
    if "error" not in operation:
        return "done"
    return {1: "cancelled", 3: "done, with failures", 10: "aborted"}.get(
        operation["error"]["code"], "failed"
    )


def _report(operation: Operation, root: Storage) -> None:
    """Show what happened: counts, the first failures, where the list lies."""
    counts: Counter[str] = Counter(operation["counts"])
    table = Table("outcome", "files", title=None)
    for outcome in operations.OUTCOMES:
        if counts[outcome]:
            table.add_row(outcome, f"{counts[outcome]:,}")
    table.add_section()
    table.add_row("in all", f"{operation['total']:,}")
    _console.print(table)
    if counts["already_imported"]:
        _console.print(f"{counts['already_imported']:,} were known and not opened")
    folder = OperationFolder(root, parse_store(operation["store"]).parent, _id(operation))
    if operations.failures(counts):
        _list_failures(folder, limit=10)
    _console.print(f"operation: {folder.id}", highlight=False)
    _console.print(
        f"its lists: {folder.storage.uri()}",
        soft_wrap=True,
        highlight=False,
    )


def _list_failures(folder: OperationFolder, limit: int) -> None:
    reasons: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for outcome in folder.outcomes():
        if outcome["outcome"] in ("failed", "conflict"):
            key = outcome["code"], outcome["reason"]
            reasons[key] += 1
            examples.setdefault(key, outcome["source"])
    if not reasons:
        return
    _console.print("why files failed:")
    for (code, reason), number in reasons.most_common(limit):
        _console.print(f"  {number:,} × {code}: {reason}", soft_wrap=True, markup=False)
        _console.print(f"      e.g. {examples[code, reason]!r}", soft_wrap=True, markup=False)


def _next(command: str, root: str) -> None:
    """Show the next command to try, which must find the same stores."""
    if root not in (_DEFAULT_ROOT, os.environ.get("DICOMFERRY_ROOT")):
        command = f"{command} --root {shlex.quote(root)}"
    _console.print(f"next: {command}", soft_wrap=True, highlight=False, markup=False, style="bold")


def _exit(operation: Operation, max_failures: int) -> None:
    if operations.failures(Counter(operation["counts"])) > max_failures:
        raise typer.Exit(1)
