"""Sort the files of an index on all workers: every range of a merge by any of them."""

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam

from dicomferry.storage.base import Storage
from dicomferry.store.compaction import commit_merge, is_void, ranges_of, write_range
from dicomferry.store.index import Index
from dicomferry.store.index_files import WrittenFile
from dicomferry.store.sorted_runs import Merge


@dataclasses.dataclass
class SortIndex(beam.PTransform):
    """Merge runs of an index; outputs the name of each run that is committed.

    Input: a `Merge` of whole runs for each new run. Each is divided into ranges, which workers
    write at once, and committed when the last of them is written. At least once: files of a second
    attempt are in no version, and a merge that is committed is found so. A merge whose files a
    deletion replaces meanwhile is passed over: what is left is planned anew.
    """

    data: Storage

    def expand(self, merges: beam.PCollection[Merge]) -> beam.PCollection[str]:
        """Divide, write and commit each merge."""
        named = merges | "Name" >> beam.Map(_named)
        written = (
            merges
            | "Divide" >> beam.FlatMap(_divide, self.data)
            | "Reshuffle" >> beam.Reshuffle()  # one merge fans out to many ranges
            | "Write" >> beam.FlatMap(_write, self.data)
        )
        return (
            {"merges": named, "written": written}
            | "GatherFiles" >> beam.CoGroupByKey()
            | "Commit" >> beam.FlatMap(_commit, self.data)
        )


def _named(whole: Merge) -> tuple[str, Merge]:
    return whole.run, whole


def _divide(whole: Merge, data: Storage) -> Iterable[Merge]:
    with _unless_void(data, whole):
        yield from ranges_of(data, whole)


def _write(part: Merge, data: Storage) -> Iterable[tuple[str, WrittenFile]]:
    with _unless_void(data, part):
        for file in write_range(data, part, Index(data).schema):
            yield part.run, file


@contextmanager
def _unless_void(data: Storage, part: Merge) -> Iterator[None]:
    """Leave a merge, files of which a deletion has purged, to `_commit`, which finds it void."""
    try:
        yield
    except FileNotFoundError:
        if not is_void(data, part):
            raise


def _commit(gathered: tuple[str, Any], data: Storage) -> Iterable[str]:
    run, found = gathered
    [whole] = found["merges"]
    if commit_merge(data, whole, list(found["written"])):
        yield run
