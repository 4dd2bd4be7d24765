"""Which sources a store has imported already; see `sources_table`.

The bounds of files and row groups show the few that can have the sources of a listing, and Arrow
compares them: no object is made of a row.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from dicomferry.operations.outcomes import Outcome
from dicomferry.sources.source import Source
from dicomferry.storage.base import Storage
from dicomferry.store.delta_tables import arrow_dataset, open_table
from dicomferry.store.forgotten_sources import forgotten, hash_of
from dicomferry.store.sources_table import ERRORS, SCHEMA, report, sources_folder

_URI = "SourceUri"


class _Version(NamedTuple):
    """A version of the table: its files, and the first and last URI of each."""

    files: list[ds.Fragment]
    firsts: pa.Array
    lasts: pa.Array


class KnownSources:
    """A version of the table for many lookups, by any number of threads."""

    def __init__(self, data: Storage) -> None:
        """Load the newest version; a table that is damaged is begun anew."""
        self._data = data
        self._folder = sources_folder(data)
        self._forgotten = forgotten(data)
        self._version = self._open()

    def among(self, sources: Sequence[Source]) -> list[bool]:
        """Return which of the sources were imported with this very size and version.

        Memory: the rows that the sources have.
        """
        if not sources:
            return []
        uris = pa.array([source.uri for source in sources], pa.string())
        rows = self._read(uris)
        sizes = pa.array([source.size for source in sources], pa.int64())
        versions = pa.array([source.version for source in sources], pa.string())
        listed = _keys(uris, sizes, versions)
        if self._forgotten:
            rows = self._remembered(rows.filter(pc.is_in(_keys_of(rows), listed)))
        known = pc.is_in(listed, _keys_of(rows)).to_pylist()
        return [is_known and not s.code for is_known, s in zip(known, sources, strict=True)]

    def _read(self, uris: pa.Array) -> pa.Table:
        """Return the rows of sources; none if the table is damaged."""
        try:
            return _rows_of(self._folder, self._version, uris)
        except ERRORS:
            self._version = self._open()  # `stores optimize` has replaced its files
        try:
            return _rows_of(self._folder, self._version, uris)
        except ERRORS as error:
            report(self._data, "read", error)
            return SCHEMA.empty_table()

    def _open(self) -> _Version:
        try:
            return _open(self._folder)
        except ERRORS as error:
            report(self._data, "read", error)
            return _Version([], *[pa.array([], pa.string())] * 2)

    def _remembered(self, rows: pa.Table) -> pa.Table:
        """Return the rows without those that a deletion made the store forget.

        A duplicate of a deleted instance has another source, which nobody knows.
        """
        pairs = zip(rows[_URI].to_pylist(), rows["Outcome"].to_pylist(), strict=True)
        kept = [o == Outcome.IMPORTED and hash_of(u) not in self._forgotten for u, o in pairs]
        return rows.filter(pa.array(kept, pa.bool_()))


def known_sources(data: Storage, sources: Sequence[Source]) -> set[Source]:
    """Return those of the sources that were imported with this very size and version."""
    known = KnownSources(data).among(sources)
    return {source for source, is_known in zip(sources, known, strict=True) if is_known}


def _keys_of(rows: pa.Table) -> pa.Array:
    return _keys(*(rows[name].combine_chunks() for name in SCHEMA.names[:3]))


def _keys(uris: pa.Array, sizes: pa.Array, versions: pa.Array) -> pa.Array:
    # No version has a NUL, so no two sources have the same key.
    return pc.binary_join_element_wise(versions, sizes.cast(pa.string()), uris, "\0")


def _open(folder: Storage) -> _Version:
    table = open_table(folder)
    log = pa.table(table.get_add_actions(flatten=True))
    if not len(log):
        return _Version([], *[pa.array([], pa.string())] * 2)
    files = {file.path: file for file in arrow_dataset(folder, table).get_fragments()}
    firsts, lasts = (
        log[f"{bound}.{_URI}"].combine_chunks().cast(pa.string()) for bound in ("min", "max")
    )
    return _Version([files[path] for path in log["path"].to_pylist()], firsts, lasts)


def _rows_of(folder: Storage, version: _Version, uris: pa.Array) -> pa.Table:
    first, last = pc.min(uris), pc.max(uris)
    # A file without bounds can have any source.
    begins = pc.fill_null(pc.less_equal(version.firsts, last), True)
    ends = pc.fill_null(pc.greater_equal(version.lasts, first), True)
    field = pc.field(_URI)
    among = (field >= first) & (field <= last) & field.isin(uris)
    tables = [SCHEMA.empty_table()]
    for at in pc.indices_nonzero(pc.and_(begins, ends)).to_pylist():
        tables.append(folder.retry(functools.partial(_read_file, version.files[at], among)))
    return pa.concat_tables(tables).combine_chunks()


def _read_file(file: ds.Fragment, among: pc.Expression) -> pa.Table:
    return file.to_table(schema=SCHEMA, columns=SCHEMA.names, filter=among)
