"""An export that is killed at a chosen moment; tests run it as a program.

    python -m tests.pipelines.disturbed_export MOMENT ROOT DESTINATION MIME_TYPE WORKERS

MOMENT: function:n:before or :after, the n-th call of a function of `POINTS`.
"""

import os
import sys

import dicomferry.transforms.export_files
import dicomferry.transforms.write_instance
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.record import OperationRecord
from dicomferry.pipelines import export_dicom
from dicomferry.storage.registry import open_storage
from tests.pipelines.disturbed_import import POINTS, disturb, kill
from tests.pipelines.jobs import STORE

_replace = os.replace
_counted = dicomferry.transforms.write_instance._counted


def rename(source, target):
    """Give an exported file its name; records, which get theirs so too, do not count."""
    _replace(source, target)


POINTS |= {
    "write_instance": (dicomferry.transforms.write_instance, "write"),
    "chunk": (dicomferry.transforms.write_instance, "_counted"),
    "rename": (sys.modules[__name__], "rename"),
    "copy": (dicomferry.transforms.write_instance, "copy_blob"),
    "take_outcomes": (dicomferry.transforms.export_files._WriteFn, "_counted"),
    "write_outcomes": (OperationFolder, "write_outcomes"),
    "finish": (OperationRecord, "finish"),
}


def main(moment, root, destination, mime_type, workers):
    rename_here = sys.modules[__name__]
    os.replace = lambda source, target: (
        rename_here.rename if str(target).startswith(destination) else _replace
    )(source, target)
    if moment.startswith("chunk:"):
        break_off(int(moment.split(":")[1]))
    else:
        disturb(kill, moment, open_storage(root))
    flags = [f"--destination={destination}", f"--mime-type={mime_type}", f"--workers={workers}"]
    return export_dicom.main([f"--store={STORE.id}", f"--root={root}", *flags])


def break_off(file):
    """Kill the process when half of the n-th file is on disk."""
    begun = []

    def half(chunks, written):
        begun.append(written)
        content = b"".join(_counted(chunks, written))
        if len(begun) == file:
            yield content[: len(content) // 2]  # more than a buffer: it goes to the file at once
            kill(None)
        yield content

    dicomferry.transforms.write_instance._counted = half


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
