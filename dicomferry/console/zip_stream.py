"""ZIP files that are sent while they are made: memory holds one chunk."""

import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path

_CHUNK_BYTES = 1 << 20


def zipped(files: Iterator[tuple[str, Path]]) -> Generator[bytes, None, None]:
    """Yield a ZIP file of files, uncompressed, a chunk at a time."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:  # type: ignore[call-overload]
        for name, path in files:
            # The same bytes each time: entries have no time of their own.
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                for chunk in chunks_of(path):
                    member.write(chunk)
                    yield sink.taken()
            yield sink.taken()
    yield sink.taken()


def chunks_of(path: Path) -> Generator[bytes, None, None]:
    """Yield a file, a chunk at a time."""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


class _Sink:
    """What was written since it was taken last. It cannot seek, as a connection cannot."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes) -> int:
        self._chunks.append(bytes(chunk))
        return len(chunk)

    def flush(self) -> None:
        pass

    def taken(self) -> bytes:
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)
