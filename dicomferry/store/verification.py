"""Verification of a store: each row's blob exists and has the size and checksum of its import.

Blobs are read by many threads: reading waits and hashing leaves Python's lock, so all cores and
many connections are busy. A `VerifyLog` makes a run of days go on where it was stopped.
"""

import hashlib
import json
import os
import random
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import google_crc32c
import pyarrow.dataset as ds

from dicomferry.errors import InstanceError
from dicomferry.operations.faults import fails_alone
from dicomferry.storage.base import Storage
from dicomferry.store.dicom_store import DicomStore
from dicomferry.store.index import Index
from dicomferry.store.index_schema import Column

_COLUMNS = [
    Column.SOP_INSTANCE_UID,
    Column.BLOB_URI,
    Column.BLOB_STORAGE_SIZE,
    Column.SHA256,
    Column.CRC32C,
]
_BATCH_ROWS = 1000
_THREADS_PER_CORE = 8
_MAX_THREADS = 64


class Finding(NamedTuple):
    """What `verify` found for one row.

    Attributes:
        sop_instance_uid: of the instance.
        blob: path of its blob, relative to the store's data.
        size: of the blob in bytes, by the row.
        problem: "missing", "wrong size" or "wrong checksum", or INTERNAL_ERROR with the place of
            the fault; "" if all is well.
    """

    sop_instance_uid: str
    blob: str
    size: int
    problem: str


class VerifyLog:
    """A local file of what has been verified: rows by index file, and the findings with a problem.

    Lines of JSON, only appended: a line that was cut by a kill counts for nothing, and its rows are
    verified again. Index files never change, so what is new in the store, or was rewritten by
    `stores optimize`, is what a later run with the same file has to verify.

    Attributes:
        problems: found by earlier runs and by this one.
    """

    def __init__(self, path: str, store: str) -> None:
        """Open a log, or begin one.

        Raises:
            ValueError: the file is no log of this store.
            OSError: it cannot be read.
        """
        self._path = path
        self._rows: dict[str, int] = {}
        self.problems: list[Finding] = []
        if os.path.exists(path) and os.path.getsize(path):
            self._load(store)
        else:
            self._append({"store": store})

    def verified(self, file: str) -> int:
        """Return how many rows of an index file, from its first one, are verified."""
        return self._rows.get(file, 0)

    def add(self, file: str, rows: int, problems: list[Finding]) -> None:
        """Write down that the first `rows` of an index file are verified."""
        self._rows[file] = rows
        self.problems += problems
        self._append({"file": file, "rows": rows, "problems": [each[:] for each in problems]})

    def _load(self, store: str) -> None:
        with open(self._path, "rb") as lines:
            text = lines.read()
        whole = text[: text.rfind(b"\n") + 1]
        try:
            head, *entries = [json.loads(line) for line in whole.splitlines()]
            if head["store"] != store:
                raise ValueError
            for entry in entries:
                self._rows[entry["file"]] = int(entry["rows"])
                self.problems += [Finding(*each) for each in entry["problems"]]
        except (ValueError, LookupError, TypeError):
            raise ValueError(
                f"{self._path} is not a log of verifying {store}: name another file"
            ) from None
        os.truncate(self._path, len(whole))

    def _append(self, entry: dict[str, Any]) -> None:
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def count_rows(store: DicomStore, log: VerifyLog | None = None) -> int:
    """Return how many rows `verify` has before it."""
    return sum(
        file.rows - (log.verified(file.path) if log else 0)
        for file in Index(store.data).file_stats()
    )


def verify(
    store: DicomStore, *, sample: float = 1.0, log: VerifyLog | None = None
) -> Iterator[Finding]:
    """Read the blobs of rows and compare their sizes and checksums.

    Args:
        store: which one.
        sample: share of the rows, above 0 up to 1; other rows each time.
        log: leave out what it has, and add to it.

    Raises:
        StorageError, OSError: the storage cannot be read.
    """
    dataset = Index(store.data).dataset()
    threads = min(_MAX_THREADS, _THREADS_PER_CORE * (os.cpu_count() or 1))
    with ThreadPoolExecutor(threads, "verify") as pool:
        try:
            for fragment in sorted(dataset.get_fragments(), key=lambda each: each.path):
                yield from _verify_file(store.data, fragment, pool, sample, log)
        finally:
            pool.shutdown(cancel_futures=True)


def _verify_file(
    data: Storage,
    fragment: ds.Fragment,
    pool: ThreadPoolExecutor,
    sample: float,
    log: VerifyLog | None,
) -> Iterator[Finding]:
    """Verify one index file; the next batch is under way while one is being completed."""
    name = os.path.basename(fragment.path)
    done = log.verified(name) if log else 0
    under_way: deque[tuple[int, list[Future[Finding]]]] = deque()
    position = 0
    for batch in fragment.to_batches(columns=_COLUMNS, batch_size=_BATCH_ROWS):
        rows = batch.slice(min(max(done - position, 0), batch.num_rows)).to_pylist()
        position += batch.num_rows
        chosen = [row for row in rows if sample >= 1 or random.random() < sample]
        under_way.append((position, [pool.submit(_verify_row, data, row) for row in chosen]))
        if len(under_way) > 1:
            yield from _complete(*under_way.popleft(), name, log)
    for each in under_way:
        yield from _complete(*each, name, log)


def _complete(
    position: int, futures: list[Future[Finding]], file: str, log: VerifyLog | None
) -> Iterator[Finding]:
    problems = []
    for future in futures:
        finding = future.result()
        if finding.problem:
            problems.append(finding)
        yield finding
    if log and futures:
        log.add(file, position, problems)


def _verify_row(data: Storage, row: dict[str, Any]) -> Finding:
    try:
        with fails_alone():
            problem = _problem(data, row)
    except InstanceError as error:
        problem = f"{error.code} ({error.fault_text})"
    return Finding(
        row[Column.SOP_INSTANCE_UID], row[Column.BLOB_URI], row[Column.BLOB_STORAGE_SIZE], problem
    )


def _problem(data: Storage, row: dict[str, Any]) -> str:
    entry = data.head(row[Column.BLOB_URI])
    if entry is None:
        return "missing"
    if entry.size != row[Column.BLOB_STORAGE_SIZE]:
        return "wrong size"
    sha256, crc32c = hashlib.sha256(), 0
    for chunk in data.chunks(row[Column.BLOB_URI]):
        sha256.update(chunk)
        crc32c = google_crc32c.extend(crc32c, chunk)
    right = crc32c == row[Column.CRC32C] and row[Column.SHA256] in (None, sha256.hexdigest())
    return "" if right else "wrong checksum"
