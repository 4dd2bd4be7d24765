"""What to do after an operation, or while it runs, as commands to copy."""

import dataclasses
import shlex
from typing import NamedTuple

from dicomferry.operations.record import Method, OperationRecord
from dicomferry.operations.state import has_reached_end
from dicomferry.operations.unreadable import is_unreadable
from dicomferry.pipelines.export_request import FILES, TABLE, ExportRequest
from dicomferry.pipelines.flags import NamedFlag, flags_of
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pipelines.requests import Request
from dicomferry.resource_names import DatasetName

_LEFT_OUT = "…"


class NextStep(NamedTuple):
    """A command of `dicomferry`, and what it is good for."""

    purpose: str
    command: str


def next_steps(record: OperationRecord, root: str) -> list[NextStep]:
    """Return the commands that make sense after an operation, the most likely one first.

    Args:
        record: of the operation.
        root: where its store is; '' if this is not for the reader, who adds it.
    """
    where = ["--root", root] if root else []
    found = [(purpose, words) for purpose, words in _steps(record) if words]
    return [
        NextStep(_with_credentials(purpose, words), shlex.join([*words, *where]))
        for purpose, words in found
    ]


def _steps(record: OperationRecord) -> list[tuple[str, list[str]]]:
    # These commands take the operations of the local dataset alone.
    is_local = record.store.parent == DatasetName()
    operation = ["dicomferry", "operations"] if is_local else []
    if is_unreadable(record):
        return [("Delete the record.", operation and [*operation, "delete", record.id])]
    if not record.done:
        return [
            ("Wait until it has ended.", operation and [*operation, "wait", record.id]),
            (
                "Cancel it; what it committed stays.",
                operation and [*operation, "cancel", record.id],
            ),
        ]
    if not has_reached_end(record):
        resumes = record.metadata.method is not Method.EXPORT
        purpose = "Resume it: finished files are skipped." if resumes else "Export again."
        return [(purpose, _same_again(record))]
    if record.metadata.method is Method.EXPORT:
        return [("Export again.", _same_again(record))]
    return _after_import(record) if record.metadata.method is Method.IMPORT else []


def _after_import(record: OperationRecord) -> list[tuple[str, list[str]]]:
    store = _store(record)
    if record.asked and record.asked.flags.get("dry_run"):
        return [("Import the files that were checked.", _same_again(record, "dry_run"))]
    if record.counts.failures:
        retry = ["dicomferry", "import", store, "--retry-failed", record.id]
        return [("Try the failed files again, once the cause is corrected.", retry)]
    return [("Export the store.", ["dicomferry", "export", "files", store, "./out"])]


def _same_again(record: OperationRecord, *without: str) -> list[str]:
    """Return the command for what was asked, but for some flags; empty if it is not known."""
    if not record.asked:
        return []
    store, flags = _store(record), dict(record.asked.flags)
    method = record.metadata.method
    if method is Method.IMPORT:
        source = [flags.pop("source")] if "source" in flags else []
        options = _options(flags, ImportRequest, without)
        return ["dicomferry", "import", store, *source, *options]
    name, command = ("table", TABLE) if "table" in flags else ("destination", FILES)
    if method is Method.EXPORT and name in flags:
        target = flags.pop(name)
        options = _options(flags, ExportRequest, without)
        return ["dicomferry", "export", command, store, target, *options]
    if method is Method.DELETE_INSTANCES and "filter" in flags:
        purge = ["--purge-history"] if "purge_history" in flags else []
        words = ["delete-instances", store, "--filter", flags["filter"], *purge]
        return ["dicomferry", "stores", *words]
    return ["dicomferry", "stores", "delete", store] if method is Method.DELETE_STORE else []


def _options(flags: dict[str, str], kind: type[Request], without: tuple[str, ...]) -> list[str]:
    """Return flags as a command has them; those that are its defaults are left out."""
    options = []
    for each in flags_of(kind):
        value = flags.get(each.name, "")
        if not value or each.name in without or not each.flag.in_commands:
            continue
        if _is_default(each, value):
            continue
        options += [each.option] if each.is_switch else [each.option, value]
    return options


def _is_default(flag: NamedFlag, value: str) -> bool:
    default = flag.field.default
    return default not in (dataclasses.MISSING, None) and flag.format(default) == value


def _store(record: OperationRecord) -> str:
    return record.store.id if record.store.parent == DatasetName() else str(record.store)


def _with_credentials(purpose: str, words: list[str]) -> str:
    if any(_LEFT_OUT in word for word in words):
        return f"{purpose} Replace {_LEFT_OUT} with the credential, which is not shown."
    return purpose
