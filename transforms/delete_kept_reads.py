"""Delete what an import kept of its reading, once the store remembers its sources."""

import dataclasses
from typing import Any

import apache_beam as beam

from dicomferry.storage.base import Storage
from dicomferry.store.kept_reads import delete_kept

_DELETED_AT_ONCE = 1000


@dataclasses.dataclass
class DeleteKeptReads(beam.PTransform):
    """Delete files by their paths, the elements in; outputs nothing.

    Another import that would have taken one reads its sources, or finds them known.

    Args (fields):
        data: the data folder of a store.
        after: a singleton view that must be there before; it is not read.
    """

    data: Storage
    after: beam.pvalue.AsSingleton

    def expand(self, paths: beam.PCollection[str]) -> beam.PCollection[Any]:
        """Delete many at once."""
        return paths | "Delete" >> beam.ParDo(_DeleteFn(self.data), self.after)


class _DeleteFn(beam.DoFn):
    def __init__(self, data: Storage) -> None:
        self._data = data

    def start_bundle(self) -> None:
        self._paths: list[str] = []

    def process(self, path: str, after: object) -> None:
        self._paths.append(path)
        if len(self._paths) == _DELETED_AT_ONCE:
            self.finish_bundle()

    def finish_bundle(self) -> None:
        paths, self._paths = self._paths, []
        delete_kept(self._data, paths)
