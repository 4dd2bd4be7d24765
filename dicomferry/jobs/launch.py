"""Start jobs: each is a process of its own, or one on Dataflow, and outlives this one.

The operation's record names the process that runs the job, and is there when a call returns.
So the process is started first and waits; then the record is written, with the process as
its owner; then the end of its standard input lets the process go on, and from there on it
alone writes the record. If this process dies in between, the other finds no record and ends;
if the other dies, the operation shows as ABORTED.
"""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence

import dicomferry
from dicomferry.jobs import dataflow, queue
from dicomferry.jobs.dataflow import TemplateJob
from dicomferry.jobs.dataflow_client import DataflowClient, Templates
from dicomferry.operations.folder import OperationFolder, new_operation_id
from dicomferry.operations.owner import Owner
from dicomferry.operations.record import Method
from dicomferry.pipelines import export_request, import_request
from dicomferry.pipelines.export_request import ExportRequest
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pipelines.requests import Request
from dicomferry.pixels.formats import parse_format
from dicomferry.resource_names import StoreName
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.tables.destination import parse_destination, parse_disposition

# Linux takes arguments of 128 KiB; no URI of ours is near that.
_MAX_ARGUMENT = 8192
_IMPORT, _EXPORT = "dicomferry.pipelines.import_dicom", "dicomferry.pipelines.export_dicom"
_SCHEMAS = ("flattened", "json")


def start_import(
    root: Storage,
    store: StoreName,
    uri: str,
    within: Sequence[str] = (),
    templates: Templates | None = None,
    max_jobs: int = 0,
) -> OperationFolder:
    """Start an import of a file or pattern.

    Args:
        root: where stores live.
        store: where to.
        uri: as GcsSource.uri, or a local path.
        within: folders that links in a local source must not lead out of; none: anywhere.
        templates: of Dataflow, whose job it then is; None: a process here.
        max_jobs: how many processes of this root run here at once; it waits if there are as many.
            0: any number.

    Raises:
        ValueError, LookupError: the request is wrong, with the remedy; nothing was started.
    """
    request = ImportRequest(root, store, uri)
    import_request.prepare(request, _remote_runner(templates))
    # A bucket, all that Dataflow reads, has no links.
    allowed_folders = [] if templates else [f"--within={folder}" for folder in within]
    argv = [f"--source={uri}", *allowed_folders]
    return _start(Method.IMPORT, _IMPORT, request, argv, templates, max_jobs)


def start_export_files(
    root: Storage,
    store: StoreName,
    uri_prefix: str,
    mime_type: str = "",
    filter_uri: str = "",
    templates: Templates | None = None,
    max_jobs: int = 0,
) -> OperationFolder:
    """Start an export to files.

    Args:
        root: where stores live.
        store: what of.
        uri_prefix: as GcsDestination.uri_prefix, or a local folder.
        mime_type: what to write; '' as uploaded.
        filter_uri: file of resource paths, local or gs://; '' exports all.
        templates: of Dataflow, whose job it then is; None: a process here.
        max_jobs: how many processes of this root run here at once; it waits if there are as many.
            0: any number.

    Raises:
        ValueError, LookupError: the request is wrong, with the remedy; nothing was started.
    """
    if not uri_prefix:
        raise ValueError("uri_prefix must name where the files go: gs://bucket/prefix or a folder")
    request = ExportRequest(
        root,
        store,
        destination=open_storage(uri_prefix),
        format=parse_format(mime_type),
        filter=filter_uri,
    )
    export_request.prepare(request, _remote_runner(templates))
    argv = [f"--destination={uri_prefix}", f"--mime-type={mime_type}", f"--filter={filter_uri}"]
    return _start(Method.EXPORT, _EXPORT, request, argv, templates, max_jobs)


def start_export_table(
    root: Storage,
    store: StoreName,
    table_uri: str,
    write_disposition: str = "",
    schema: str = "flattened",
    include_source_store: bool = False,
    filter_uri: str = "",
    templates: Templates | None = None,
    max_jobs: int = 0,
) -> OperationFolder:
    """Start an export to a table.

    Args:
        root: where stores live.
        store: what of.
        table_uri: bq://project.dataset.table, duckdb:… or delta:…
        write_disposition: name of a WriteDisposition; '' is WRITE_EMPTY.
        schema: flattened or json.
        include_source_store: whether rows have the column SourceDicomStore.
        filter_uri: file of resource paths, local or gs://; '' exports all.
        templates: of Dataflow, whose job it then is; None: a process here.
        max_jobs: how many processes of this root run here at once; it waits if there are as many.
            0: any number.

    Raises:
        ValueError, LookupError: the request is wrong, with the remedy; nothing was started.
    """
    if schema not in _SCHEMAS:
        raise ValueError(f"{schema!r} is no schema of a table: choose {' or '.join(_SCHEMAS)}")
    request = ExportRequest(
        root,
        store,
        table=parse_destination(table_uri),
        write_disposition=parse_disposition(write_disposition or None),
        flattened=schema == "flattened",
        include_source_store=include_source_store,
        filter=filter_uri,
    )
    export_request.prepare(request, _remote_runner(templates))
    argv = [f"--table={table_uri}", f"--schema={schema}", f"--filter={filter_uri}"]
    argv += [f"--write-disposition={request.write_disposition}"]
    argv += ["--include-source-store"] * include_source_store
    return _start(Method.EXPORT, _EXPORT, request, argv, templates, max_jobs)


def _remote_runner(templates: Templates | None) -> str:
    return "" if templates is None else "DataflowRunner"


def _start(
    method: Method,
    module: str,
    request: Request,
    argv: Sequence[str],
    templates: Templates | None = None,
    max_jobs: int = 0,
) -> OperationFolder:
    flags = [f"--root={request.root.root}", f"--store={request.store}", *argv]
    for flag in flags:
        if len(flag.encode()) > _MAX_ARGUMENT or "\0" in flag:
            name = flag.partition("=")[0].removeprefix("--")
            raise ValueError(f"{name} must be text of at most {_MAX_ARGUMENT} bytes, without NUL")
    if templates is not None:
        template = templates.of(module.rpartition(".")[2])
        job = TemplateJob(request.root, request.store, method, _parameters(argv))
        return dataflow.start(DataflowClient(), template, job)
    operation_id = new_operation_id()
    folder = OperationFolder(request.root, request.store.parent, operation_id)
    waits, slot = [], None
    if max_jobs:
        slots = queue.slots_folder(request.root)
        slot = queue.try_acquire_slot(slots, max_jobs)
        waits = ["dicomferry.jobs.queue", slots, str(max_jobs)] if slot is None else []
    log, logs = _open_log(folder)
    with os.fdopen(log, "wb"), queue.inherit_slot(slot) as inherited:
        process = subprocess.Popen(
            # -P: what lies in the working folder is not code of ours.
            [sys.executable, "-P", "-m", *waits, module, *flags, f"--operation={operation_id}"],
            env={**os.environ, "PYTHONPATH": _search_path()},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherited,
        )
    # Else an ended job stays a zombie for as long as this process lives.
    threading.Thread(target=process.wait, daemon=True).start()
    assert process.stdin is not None
    with process.stdin:
        folder.start(request.store, method, Owner.of(process.pid), logs)
    return folder


def _parameters(argv: Sequence[str]) -> dict[str, str]:
    """Flags as parameters of a template; what is empty is left to its default."""
    split = (flag.removeprefix("--").partition("=") for flag in argv)
    given = {name.replace("-", "_"): value if sign else "true" for name, sign, value in split}
    return {name: value for name, value in given.items() if value}


def _open_log(folder: OperationFolder) -> tuple[int, str]:
    """Open where the process writes what it has to say: it is local, and holds no patient data.

    Returns:
        An open descriptor, and where that is.
    """
    path = folder.storage.local_path("job.log")
    if path is None:
        return tempfile.mkstemp(".log", f"dicomferry-{folder.id}-")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), path


def _search_path() -> str:
    """Where the process finds the modules that this one runs, installed or not."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(dicomferry.__file__)))
    return os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH", "")]))
