"""Which of many files have a UID of another one: told by hashes, 8 bytes a row."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Valid UIDs have no more (PS3.5, 9.1). Longer ones that begin alike have the same hash.
_UID_BYTES = 64
_WORD_BYTES = 8
# 2^64 divided by the golden ratio: multiplication by it spreads a word over the upper bits.
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
# The lowest bits of a number, in place of those of the hash, are the number of a file.
_FILE_BITS = 12
_FILE = np.uint64((1 << _FILE_BITS) - 1)
_HASH = ~_FILE


def hashes_of(uids: pa.ChunkedArray) -> np.ndarray:
    """Return a hash of each UID, uint64: the same in every process."""
    padded = pc.ascii_rpad(uids.fill_null(""), _UID_BYTES, "\0").cast(pa.binary())
    cut = pa.concat_arrays(
        pc.binary_slice(padded, 0, _UID_BYTES).chunks or [pa.array([], "binary")]
    )
    words = np.frombuffer(cut.buffers()[2] or b"", np.uint64, len(cut) * _UID_BYTES // _WORD_BYTES)
    hashes = np.zeros(len(cut), np.uint64)
    for word in words.reshape(len(cut), -1).T if len(cut) else ():
        hashes = (hashes ^ word) * _FACTOR
        hashes ^= hashes >> _HALF
    return hashes


class HashedFiles:
    """The UIDs of up to 4,096 files, in one sorted array: hashes, each with a file's number."""

    def __init__(self) -> None:
        """Begin without a file."""
        self._files: dict[str, int] = {}
        self._numbers = np.empty(0, np.uint64)

    def __contains__(self, path: str) -> bool:
        """Whether a file was added."""
        return path in self._files

    def add(self, files: Mapping[str, np.ndarray]) -> None:
        """Add files: their paths, with the hashes of their UIDs."""
        if not files:
            return
        self._files |= zip(files, range(len(self._files), _FILE), strict=False)
        numbered = [
            (hashes & _HASH) | np.uint64(self._files[path]) for path, hashes in files.items()
        ]
        self._numbers = np.concatenate([self._numbers, *numbered])
        self._numbers.sort()

    def having(self, hashes: np.ndarray) -> set[str]:
        """Return the files that have a UID with one of some hashes; by chance, one too many."""
        wanted = np.sort(hashes & _HASH)
        starts = np.searchsorted(self._numbers, wanted)
        ends = np.searchsorted(self._numbers, wanted | _FILE, side="right")
        found: set[int] = set()
        for nth in range(int((ends - starts).max(initial=0))):
            places = starts + nth
            numbers = self._numbers[places[places < ends]] & _FILE
            found.update(np.unique(numbers).tolist())
        paths = list(self._files)
        return {paths[number] for number in found}
