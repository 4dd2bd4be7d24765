"""Read the instances of a version of the index, one row group at a time."""

import dataclasses
from collections.abc import Iterator

import apache_beam as beam

from dicomferry.storage.base import Storage
from dicomferry.store.index_files import read_row_group, row_groups
from dicomferry.store.index_schema import UID_COLUMNS
from dicomferry.store.instance_filter import StoredFilter
from dicomferry.transforms.write_instance import StoredInstance

_COLUMNS = [
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "TransferSyntaxUID",
    "BlobUri",
    "BlobStorageSize",
    "Crc32c",
]
# Small enough to keep all workers busy, large enough to be worth handing over.
_SHARE_INSTANCES = 256


@dataclasses.dataclass
class ReadIndex(beam.PTransform):
    """Turn Parquet files of a pinned version into shares of stored instances.

    Attributes:
        data: the store's data folder.
        paths: the filter that selects instances; None selects all.
    """

    data: Storage
    paths: StoredFilter | None = None

    def expand(self, files: beam.PCollection[str]) -> beam.PCollection[list[StoredInstance]]:
        """Split files into row groups and read their rows.

        Args:
            files: of the index, as `Index.files` names them.

        Returns:
            Lists of at most 256 instances.
        """
        return (
            files
            | "SplitFiles" >> beam.FlatMap(split_files, self.data)
            | "ReshuffleRowGroups" >> beam.Reshuffle()  # one file fans out to many row groups
            | "ReadRows" >> beam.FlatMap(_read, self.data, self.paths)
            | "ReshuffleShares" >> beam.Reshuffle()  # one row group fans out to many shares
        )


def split_files(file: str, data: Storage) -> Iterator[tuple[str, int]]:
    """Yield (file, row group number) for each row group of a file of the index."""
    for row_group in range(row_groups(data, file)):
        yield file, row_group


def _read(
    row_group: tuple[str, int], data: Storage, paths: StoredFilter | None
) -> Iterator[list[StoredInstance]]:
    mask = None
    if paths:
        mask = paths.load().mask(read_row_group(data, *row_group, UID_COLUMNS))
        if not mask.true_count:
            return
    table = read_row_group(data, *row_group, _COLUMNS)
    table = table if mask is None else table.filter(mask)
    columns = [table[name].to_pylist() for name in _COLUMNS]
    instances = [StoredInstance(*row) for row in zip(*columns, strict=True)]
    for start in range(0, len(instances), _SHARE_INSTANCES):
        yield instances[start : start + _SHARE_INSTANCES]
