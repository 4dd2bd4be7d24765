"""Results of jobs: counts, and the outcome of every file as an Arrow table."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import Outcome, OutcomeCounts
from dicomferry.operations.record import OperationRecord
from dicomferry.pipelines.job import JobError
from dicomferry.storage.base import Storage

_OUTCOMES = pa.schema(
    [
        ("source", pa.string()),
        ("outcome", pa.string()),
        ("code", pa.string()),
        ("reason", pa.string()),
        ("fault", pa.string()),
        ("sopInstanceUid", pa.string()),
        ("derivedSopInstanceUid", pa.string()),
        ("other", pa.string()),
        ("bytes", pa.int64()),
    ]
)


@dataclasses.dataclass(frozen=True)
class JobResult:
    """Result of a job that has run to its end; some of its files may have failed.

    Attributes:
        operation: resource name of the operation.
        total: files of an import, or instances of an export.
        counts: number of files or instances by outcome, without zeros; see `Outcome`.
        size: total size of these files or instances, in bytes.
        message: why the job is not `ok`; '' if it is.
    """

    operation: str
    total: int
    counts: dict[str, int]
    size: int
    message: str
    _folder: OperationFolder = dataclasses.field(repr=False, compare=False)
    _detail: OutcomeCounts = dataclasses.field(repr=False, compare=False)

    @classmethod
    def of(cls, record: OperationRecord, root: Storage) -> Self:
        """Return the result of an operation that has ended, whose record is below `root`."""
        counts = record.counts
        assert isinstance(counts, OutcomeCounts)
        return cls(
            operation=record.name,
            total=record.total,
            counts={str(each): counts.of(each) for each in Outcome if counts.of(each)},
            size=counts.bytes,
            message=record.error.message if record.error else "",
            _folder=OperationFolder(root, record.store.parent, record.id),
            _detail=counts,
        )

    @property
    def ok(self) -> bool:
        """Whether nothing failed, and all rows and notifications were delivered."""
        return not self._detail.failures and not self.message

    def raise_for_failures(self) -> None:
        """Raise an error unless the job is `ok`.

        Raises:
            JobError: something failed; the message says how many files, and where the list is.
        """
        if not self.ok:
            raise JobError(INVALID_ARGUMENT, self.message)

    @functools.cached_property
    def outcomes(self) -> pa.Table:
        """The outcomes as a table, read when first used.

        There is one row per file of an import, and per instance of an export to files. An export to
        a table has rows only for instances that failed. The columns are:

            source          URI of the file, or resource path of the instance
            outcome         imported, duplicate, conflict, skipped, failed, exported
                            or deleted
            code, reason    why: a stable code and a sentence; null for plain success
            fault           kind and place of an error of dicomferry's own; else null
            sopInstanceUid  (0008,0018); null if unknown
            derivedSopInstanceUid
                            SOP Instance UID of the written file, if it differs
            other           URI of the file that it duplicates or conflicts with
            bytes           size in bytes
        """
        shards = [pa.Table.from_pylist([], _OUTCOMES)]
        options = pyarrow.json.ParseOptions(_OUTCOMES, unexpected_field_behavior="ignore")
        for lines in self._folder.outcome_shards():
            if lines:
                shards.append(pyarrow.json.read_json(pa.BufferReader(lines), parse_options=options))
        return pa.concat_tables(shards)

    @property
    def failures(self) -> pa.Table:
        """The rows of `outcomes` that count as failures."""
        failing: Sequence[str] = [Outcome.FAILED]
        if self._detail.conflict_failed:
            failing = [Outcome.FAILED, Outcome.CONFLICT]
        return self.outcomes.filter(pc.is_in(self.outcomes["outcome"], pa.array(failing)))


@dataclasses.dataclass(frozen=True)
class ImportResult(JobResult):
    """Result of an import.

    >>> import dicomferry
    >>> result = dicomferry.create_store("results").import_files("dicom/CT_small.dcm")
    >>> result.ok, result.counts
    (True, {'imported': 1})
    >>> result.outcomes.column("source").to_pylist()
    ['.../dicom/CT_small.dcm']
    """

    @property
    def already_imported(self) -> int:
        """Number of files that were skipped because an earlier import read them."""
        return self._detail.already_imported


@dataclasses.dataclass(frozen=True)
class DeletionResult(JobResult):
    """Result of a deletion of instances.

    >>> import dicomferry, pathlib
    >>> store = dicomferry.create_store("deleted")
    >>> _ = store.import_files("dicom/CT_small.dcm")
    >>> _ = pathlib.Path("none.txt").write_text("/studies/1.2.3")
    >>> result = store.delete_instances("none.txt")
    >>> result.ok, result.failures.column("code").to_pylist()
    (False, ['NO_SUCH_RESOURCE'])
    """


@dataclasses.dataclass(frozen=True)
class ExportResult(JobResult):
    """Result of an export.

    >>> import dicomferry
    >>> store = dicomferry.create_store("exported")
    >>> imported = store.import_files("dicom/*.dcm")
    >>> result = store.export_files("out")
    >>> result.ok, result.total == imported.counts["imported"]
    (True, True)
    """

    @property
    def warnings(self) -> int:
        """Number of values that did not fit the columns of a table; warnings-*.jsonl lists them."""
        return self._detail.warnings
