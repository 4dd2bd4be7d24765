"""The instances of a bucket in the order of the index, with what is large of them on disk."""

import itertools
import pickle
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dicomferry.transforms.records import Instance

# What a verdict and an outcome need, and a renewal of a blob. The others have their defaults.
_TEXTS = (
    "sop_instance_uid",
    "source_uri",
    "source_version",
    "blob",
    "study_instance_uid",
    "series_instance_uid",
    "sha256",
)
# The order of `dedupe`.
_ORDER = [(name, "ascending") for name in _TEXTS[:4]]
_BATCH = 4096
_LIGHT = Instance("", "", "", "", "", "", 1, b"", 0, "", 0, "", 0, "", "")


class SortedCopies:
    """Instances sorted by SOP Instance UID, then by source.

    In memory are 0.6 KB of each. They come out one after the other, without what only a row of the
    index needs; `whole` reads that from disk.
    """

    def __init__(self, instances: Iterable[Instance], spool: IO[bytes]) -> None:
        """Read instances once.

        Args:
            instances: all copies of some UIDs, in any order.
            spool: an empty temporary file, which must stay open for `whole`.
        """
        self._spool = spool
        batches = []
        instances = iter(instances)
        while some := list(itertools.islice(instances, _BATCH)):
            batches.append(self._batch(some))
        table = pa.Table.from_batches(batches, _SCHEMA)
        order = pc.sort_indices(table, sort_keys=_ORDER)
        self._hold(table.take(order))

    def _hold(self, rows: pa.Table) -> None:
        self._places = np.column_stack([rows[name].to_numpy() for name in ("place", "length")])
        self._rows = rows

    def _batch(self, instances: Sequence[Instance]) -> pa.RecordBatch:
        columns: dict[str, Any] = {
            name: [getattr(each, name).encode("utf-8", "surrogatepass") for each in instances]
            for name in _TEXTS
        }
        for name in ("size", "crc32c", "stored"):
            columns[name] = [getattr(each, name) for each in instances]
        contents = [pickle.dumps(tuple(each), protocol=5) for each in instances]
        lengths = list(map(len, contents))
        columns["place"] = list(itertools.accumulate(lengths[:-1], initial=self._spool.tell()))
        columns["length"] = lengths
        self._spool.writelines(contents)
        return pa.record_batch(columns, schema=_SCHEMA)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Instance]:
        for batch in self._rows.to_batches(max_chunksize=_BATCH):
            columns = [
                _values(batch[name]) if name in _SCHEMA.names else itertools.repeat(default)
                for name, default in _LIGHT._asdict().items()
            ]
            yield from map(Instance._make, zip(*columns, strict=False))

    def uids(self) -> list[str]:
        """Return every SOP Instance UID once, sorted."""
        return _values(self._rows["sop_instance_uid"].unique())

    def whole(self, number: int) -> Instance:
        """Return an instance with everything that was read of it.

        Args:
            number: its place in the order of this object.
        """
        place, length = self._places[number]
        self._spool.seek(place)
        content = self._spool.read(length)
        return Instance._make(pickle.loads(content))

    def without(self, numbers: Collection[int]) -> "SortedCopies":
        """Return the instances but for some, by their places."""
        is_left = np.ones(len(self), bool)
        is_left[list(numbers)] = False
        left = object.__new__(SortedCopies)
        left._spool = self._spool
        left._hold(self._rows.filter(pa.array(is_left)))
        return left


_SCHEMA = pa.schema(
    [
        *((name, pa.binary()) for name in _TEXTS),
        ("size", pa.int64()),
        ("crc32c", pa.int64()),
        ("stored", pa.float64()),
        ("place", pa.int64()),
        ("length", pa.int64()),
    ]
)


def _values(column: pa.Array) -> list[Any]:
    values = column.to_pylist()
    is_text = pa.types.is_binary(column.type)
    return [value.decode("utf-8", "surrogatepass") for value in values] if is_text else values
