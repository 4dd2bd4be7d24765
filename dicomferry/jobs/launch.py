"""Start jobs: each is a process of its own, or one on Dataflow, and outlives this one.

The operation's record names the process that runs the job, and exists when a call returns.
So the process starts first and waits; then the record is written, with the process as its owner;
then the end of its standard input lets the process go on, and from there on it alone writes the
record. If this process dies in between, the other finds no record and ends; if the other dies,
the operation shows as ABORTED.
"""

import dataclasses
import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import dicomferry
from dicomferry import pipelines, tracing
from dicomferry.jobs import dataflow, deletion, queue
from dicomferry.jobs.dataflow import TemplateJob
from dicomferry.jobs.dataflow_client import DataflowClient, Templates
from dicomferry.jobs.queue import Place
from dicomferry.jobs.turns import DEFAULT_LIMITS, WaitingLimits
from dicomferry.operations.asked import Asked, asked_by
from dicomferry.operations.folder import OperationFolder, new_operation_id
from dicomferry.operations.owner import Owner
from dicomferry.operations.record import Method
from dicomferry.pipelines.flags import texts_of, to_argv
from dicomferry.pipelines.requests import Request
from dicomferry.resource_names import StoreName
from dicomferry.storage.base import Storage
from dicomferry.store.dicom_store import mark_deleted

# Linux accepts arguments of 128 KiB; no URI of ours is near that.
_MAX_ARGUMENT = 8192
# Of the parameters of a template, those that `dataflow.start` gives itself.
_BY_DATAFLOW = ("root", "store", "operation")


@dataclasses.dataclass(frozen=True)
class JobRunner:
    """Where jobs run.

    Attributes:
        templates: of Dataflow; None: jobs are processes on this machine.
        max_jobs: how many processes of a root run on this machine at once; further ones wait.
            0: any number.
        waiting: how many may wait.
    """

    templates: Templates | None = None
    max_jobs: int = 0
    waiting: WaitingLimits = DEFAULT_LIMITS

    def place_for(
        self, root: Storage, store: StoreName, caller: str
    ) -> AbstractContextManager[Place]:
        """See `queue.place_for`."""
        return queue.place_for(root, store, caller, self.max_jobs, self.waiting)


def start(
    request: Request, runner: JobRunner | None = None, principal: str = ""
) -> OperationFolder:
    """Start a job.

    Args:
        request: an `ImportRequest` or `ExportRequest`; its own `operation` is not used.
        runner: where the job runs; default: a process on this machine, at once.
        principal: who asks for it; default: the user of this process.

    Raises:
        ValueError, LookupError: a quick look shows that the request is wrong, with the remedy;
            nothing was started. What it does not show ends the operation.
        DataflowError: Dataflow refused the job.
        QueueFullError: it may not even wait.
    """
    runner = runner or JobRunner()
    request.check_reach("" if runner.templates is None else "DataflowRunner")
    for flag, text in texts_of(request):
        if len(text.encode("utf-8", "surrogateescape")) > _MAX_ARGUMENT or "\0" in text:
            raise ValueError(
                f"{flag.name} must be text of at most {_MAX_ARGUMENT} bytes, without NUL"
            )
    if runner.templates is not None:
        return _start_on_dataflow(request, runner.templates, request.asked(principal))
    return _start_process(request, runner, request.asked(principal))


def _start_on_dataflow(request: Request, templates: Templates, asked: Asked) -> OperationFolder:
    parameters = {
        flag.name: text
        for flag, text in texts_of(request)
        if flag.flag.in_templates and flag.name not in _BY_DATAFLOW
    }
    job = TemplateJob(request.root, request.store, request.method, parameters, asked)
    return dataflow.start(DataflowClient(), templates.of(request.pipeline), job)


def _start_process(request: Request, runner: JobRunner, asked: Asked) -> OperationFolder:
    operation_id = new_operation_id()
    folder = OperationFolder(request.root, request.store.parent, operation_id)
    argv = to_argv(dataclasses.replace(request, operation=operation_id))
    arguments = [module_of(request), *argv]
    begun = _Begun(request.store, request.method, asked)
    with runner.place_for(request.root, request.store, asked.principal) as place:
        return _start(folder, arguments, begun, place)


def start_deletion(
    root: Storage, name: StoreName, runner: JobRunner, principal: str
) -> OperationFolder:
    """Mark a store as deleted, and start to delete its data in a process of this machine.

    Args:
        root: where stores are.
        name: of the store.
        runner: says how many processes run at once.
        principal: who asked.

    Raises:
        StoreNotFoundError: there is no such store.
        QueueFullError: the deletion may not even wait; the store stays.
    """
    folder = OperationFolder(root, name.parent, new_operation_id())
    flags = [f"--root={root.root}", f"--store={name}", f"--operation={folder.id}"]
    arguments = [deletion.__name__, *flags]
    begun = _Begun(name, Method.DELETE_STORE, asked_by(principal))
    with runner.place_for(root, name, begun.asked.principal) as place:
        mark_deleted(root, name)
        return _start(folder, arguments, begun, place)


class _Begun(NamedTuple):
    """What the record of an operation says from its beginning."""

    store: StoreName
    method: Method
    asked: Asked


def _start(
    folder: OperationFolder, arguments: Sequence[str], begun: _Begun, place: Place
) -> OperationFolder:
    """Start a module of ours with its arguments, and record its process as the owner."""
    log, logs = _open_log(folder)
    with os.fdopen(log, "wb"):
        process = subprocess.Popen(
            # -P: modules in the working folder are not ours.
            [sys.executable, "-P", "-m", *place.program, *arguments],
            env={**os.environ, **tracing.environment(), "PYTHONPATH": _search_path()},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=place.inherited,
        )
    # Else an ended job stays a zombie for as long as this process lives.
    threading.Thread(target=process.wait, daemon=True).start()
    assert process.stdin is not None
    with process.stdin:
        folder.start(begun.store, begun.method, Owner.of(process.pid), logs, begun.asked)
    return folder


def module_of(request: Request) -> str:
    """The module that runs a request; it is found, not imported: it would bring Beam here.

    Raises:
        ModuleNotFoundError: it was renamed.
    """
    name = f"{pipelines.__name__}.{request.pipeline}"
    if importlib.util.find_spec(name) is None:
        raise ModuleNotFoundError(name)
    return name


def _open_log(folder: OperationFolder) -> tuple[int, str]:
    """Open the log of a job's process: a local file, without patient data.

    Returns:
        An open descriptor, and the path.
    """
    path = folder.storage.local_path("job.log")
    if path is None:
        return tempfile.mkstemp(".log", f"dicomferry-{folder.id}-")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path


def _search_path() -> str:
    """The PYTHONPATH by which the process finds the modules of this one, installed or not."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(dicomferry.__file__)))
    return os.pathsep.join(filter(None, [ours, os.environ.get("PYTHONPATH", "")]))
