"""The sorted listing of a local import, in parts that are packed until they run."""

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from dicomferry.sources.source import Source
from dicomferry.transforms.list_sources import LISTING_FILES

_SCHEMA = pa.schema(
    [(name, pa.int64() if name == "size" else pa.string()) for name in Source._fields]
)


def sort_listing(sources: Iterable[Source], expect: Callable[[int], None]) -> pa.Table:
    """Return a listing as an Arrow table sorted by URI, so that the lowest URI of a UID wins.

    Args:
        sources: in any order.
        expect: called now and then with the number of sources so far.
    """
    batches = []
    batch: list[Source] = []
    total = 0
    for total, source in enumerate(sources, 1):
        batch.append(source)
        if len(batch) == LISTING_FILES:
            batches.append(_to_record_batch(batch))
            expect(total)
            batch = []
    batches.append(_to_record_batch(batch))
    expect(total)
    return pa.Table.from_batches(batches, _SCHEMA).sort_by("uri")


def pack_parts(sources: pa.Table, size: int) -> list[pa.Buffer]:
    """Return a listing in compressed parts: of a million entries 10 MB stay in memory, not 150.

    Args:
        sources: the listing.
        size: files per part.
    """
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    packed = []
    for start in range(0, len(sources), size or 1):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, sources.schema, options=options) as stream:
            stream.write_table(sources.slice(start, size))
        packed.append(sink.getvalue())
    return packed


def unpack_part(part: pa.Buffer) -> list[list[Source]]:
    """Return a part as listings, each one element of the graph."""
    rows = pa.ipc.open_stream(part).read_all().to_pylist()
    return list(split_listing([Source(**row) for row in rows]))


def split_listing(sources: list[Source]) -> Iterator[list[Source]]:
    """Yield a listing in pieces of at most `LISTING_FILES`."""
    for start in range(0, len(sources), LISTING_FILES):
        yield sources[start : start + LISTING_FILES]


def _to_record_batch(sources: list[Source]) -> pa.RecordBatch:
    columns = [list(column) for column in zip(*sources, strict=True)] or [[] for _ in _SCHEMA]
    return pa.record_batch(
        [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
    )
