"""Find what the paths of a filter name in an index, on the workers of a distributed runner.

A local job looks before it starts, to show how much there is; see pipelines/export_dicom.py.
"""

import dataclasses
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator

import apache_beam as beam

from dicomferry.operations.folder import OperationFolder
from dicomferry.storage.base import Storage
from dicomferry.store.index_files import read_row_group
from dicomferry.store.index_schema import UID_COLUMNS
from dicomferry.store.instance_filter import StoredFilter, path_of
from dicomferry.transforms.read_index import split_files
from dicomferry.transforms.write_outcomes import report_unmatched

# A million paths are compared in so many parts.
_SHARES = 32

_Found = tuple[int, list[str]]
"""How many rows of a row group are meant, and by which paths."""


@dataclasses.dataclass
class FindPaths(beam.PTransform):
    """Turn the Parquet files of an index version into the number of outcomes of an export.

    These are its instances that a filter means, and the paths that mean none: they are reported as
    failures. At least once; a retry replaces its own report.
    """

    data: Storage
    instances: StoredFilter
    folder: OperationFolder

    def expand(self, files: beam.PCollection[str]) -> beam.PCollection[int]:
        """Read the UIDs of each row group, and compare them with the paths."""
        found = (
            files
            | "SplitFiles" >> beam.FlatMap(split_files, self.data)
            | "Reshuffle" >> beam.Reshuffle()  # one file fans out to many row groups
            | "Find" >> beam.Map(find, self.data, self.instances)
        )
        every = files.pipeline | "Shares" >> beam.Create([(share, []) for share in range(_SHARES)])
        unmatched = (
            (found | "KeyByShare" >> beam.FlatMap(_by_share), every)
            | "AllShares" >> beam.Flatten()
            | "GroupByShare" >> beam.GroupByKey()
            | "Report" >> beam.Map(_report, self.instances, self.folder)
        )
        rows = found | "Rows" >> beam.Map(lambda each: each[0])
        return (rows, unmatched) | "All" >> beam.Flatten() | "Total" >> beam.CombineGlobally(sum)


def find(row_group: tuple[str, int], data: Storage, instances: StoredFilter) -> _Found:
    """Return how many rows of a row group are meant, and by which paths."""
    paths = instances.load()
    uids = read_row_group(data, *row_group, UID_COLUMNS)
    uids = uids.filter(paths.mask(uids))
    return uids.num_rows, sorted(paths.matched(uids))


def _share_of(path: str) -> int:
    return zlib.crc32(path.encode()) % _SHARES


def _by_share(found: _Found) -> Iterator[tuple[int, list[str]]]:
    shares: dict[int, list[str]] = defaultdict(list)
    for path in found[1]:
        shares[_share_of(path)].append(path)
    yield from shares.items()


def _report(
    share: tuple[int, Iterable[list[str]]], instances: StoredFilter, folder: OperationFolder
) -> int:
    """Report the paths of one share that mean no row; return their number."""
    number, matched = share
    unmatched = {path for path in instances.load().paths if _share_of(path) == number}
    for paths in matched:
        unmatched.difference_update(paths)
    report_unmatched(sorted(map(path_of, unmatched)), folder, f"filter-{number:02d}")
    return len(unmatched)
