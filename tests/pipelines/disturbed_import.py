"""An import that something befalls at a chosen moment; tests run it as a program.

    python -m tests.pipelines.disturbed_import EVENT MOMENT ROOT SOURCE WORKERS

EVENT: kill (SIGKILL to its process group), cancel (somebody asks the operation to end) or
interrupt (Ctrl-C). MOMENT: function:n:before or :after, the n-th call of a function of `POINTS`.
"""

import itertools
import os
import signal
import sys
import time

import dicomferry.storage.delta_commits
import dicomferry.store.index
import dicomferry.transforms.append_to_streams
import dicomferry.transforms.commit_instances
import dicomferry.transforms.ingest
import dicomferry.transforms.keep_reads
import dicomferry.transforms.prepare_instances
import dicomferry.transforms.read_and_store
import dicomferry.transforms.write_outcomes
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.listing import list_operations
from dicomferry.operations.record import OperationRecord
from dicomferry.pipelines import import_dicom
from dicomferry.resource_names import DatasetName
from dicomferry.storage.registry import open_storage
from dicomferry.store.stream_log import StreamLog
from tests.pipelines.jobs import STORE

PART_FILES = 20
POINTS = {
    "write_blob": (dicomferry.transforms.ingest, "write_blob"),
    "read_large": (dicomferry.transforms.ingest, "_chunks"),
    "take_results": (dicomferry.transforms.read_and_store._ReadFn, "_count"),
    "append": (dicomferry.store.index.Index, "append"),
    "write_kept": (dicomferry.transforms.keep_reads, "write_kept"),
    "write_rows": (dicomferry.transforms.prepare_instances, "write_files"),
    "confirm": (dicomferry.transforms.commit_instances, "confirm"),
    "publish": (dicomferry.storage.delta_commits, "_publish"),
    "plan_append": (StreamLog, "plan"),
    "load_append": (dicomferry.transforms.append_to_streams, "_load"),
    "finish_append": (StreamLog, "mark_done"),
    "write_outcomes": (OperationFolder, "write_outcomes"),
    "remember": (dicomferry.transforms.write_outcomes, "commit_sources"),
    "write_counts": (OperationFolder, "write_counts"),
    "finish": (OperationRecord, "finish"),
}


def kill(root):
    os.killpg(0, signal.SIGKILL)


def cancel(root):
    [[folder, _]] = list_operations(root, DatasetName())
    folder.request_cancel()
    time.sleep(60)  # the job ends long before


def interrupt(root):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)


def disturb(event, moment, root):
    point, call, when = moment.split(":")
    owner, name = POINTS[point]
    function = getattr(owner, name)
    calls = itertools.count(1)

    def disturbed(*args, **kwargs):
        is_now = next(calls) == int(call)
        if is_now and when == "before":
            event(root)
        result = function(*args, **kwargs)
        if is_now and when == "after":
            event(root)
        return result

    setattr(owner, name, disturbed)


def main(event, moment, root, source, workers):
    import_dicom.PART_FILES = PART_FILES
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    disturb(
        {"kill": kill, "cancel": cancel, "interrupt": interrupt}[event], moment, open_storage(root)
    )
    flags = [f"--store={STORE.id}", f"--root={root}", f"--source={source}", f"--workers={workers}"]
    return import_dicom.main(flags)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
