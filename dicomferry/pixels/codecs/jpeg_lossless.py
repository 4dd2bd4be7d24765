"""Encode JPEG Lossless, first-order prediction (ISO/IEC 10918-1, Annex H; selection value 1).

libjpeg goes sample by sample, twice: 8 ms for a CT slice. Here arrays go through whole: the
differences, their bits from a table of those that occur, neighbors joined until a word is full.
That is the same number of bytes in 3 ms.
"""

import heapq
import struct
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dicomferry.pixels.samples import Pixels

# Samples at a time, so that memory does not grow; what is computed to pack them fits the cache.
_COUNTED = 1 << 20
_PACKED = 1 << 15
_WORD = 64
_MAX_CODE_BITS = 16
_CATEGORIES = 17
# A code of only ones is kept free by a symbol that never occurs (K.2).
_RESERVED = _CATEGORIES

_Bits = npt.NDArray[np.uint64]
_Lengths = npt.NDArray[np.uint8]


def encode(samples: Pixels, precision: int, component_ids: bytes) -> bytes:
    """Encode one frame.

    Args:
        samples: (rows, columns) or (rows, columns, components), unsigned, 8 or 16 bits.
        precision: bits of a sample, 2 to 16; none is larger.
        component_ids: a byte a component.
    """
    rows, columns = samples.shape[:2]
    differences = _differences(samples.reshape(rows, columns, -1), precision)
    counts = np.zeros(1 << 16, np.int64)
    for piece in _pieces(differences, _COUNTED):
        counts += np.bincount(piece, minlength=1 << 16)
    table = _Table(counts)
    packer = _Packer()
    scan = [packer.pack(*table.look_up(piece)) for piece in _pieces(differences, _PACKED)]
    return b"".join(
        (
            b"\xff\xd8",
            _frame_header(rows, columns, precision, component_ids),
            table.segment,
            _scan_header(component_ids),
            *(each.replace(b"\xff", b"\xff\x00") for each in (*scan, packer.end())),
            b"\xff\xd9",
        )
    )


def _differences(samples: Pixels, precision: int) -> npt.NDArray[np.uint16]:
    """Return each sample less the one before, or above, modulo 2^16 (H.1.2.1)."""
    wide = samples.astype(np.uint16, copy=False)
    differences = np.empty(wide.shape, np.uint16)
    np.subtract(wide[:, 1:], wide[:, :-1], out=differences[:, 1:])
    np.subtract(wide[1:, 0], wide[:-1, 0], out=differences[1:, 0])
    np.subtract(wide[0, 0], np.uint16(1 << (precision - 1)), out=differences[0, 0])
    return differences.reshape(-1)


def _pieces(differences: npt.NDArray[np.uint16], length: int) -> Iterator[npt.NDArray[np.uint16]]:
    for at in range(0, len(differences), length):
        yield differences[at : at + length]


class _Table:
    """The bits of every difference that occurs: Huffman code of its category, then which it is."""

    def __init__(self, counts: npt.NDArray[np.int64]) -> None:
        """Make the best table for differences that occur so often, each modulo 2^16."""
        occurring = np.flatnonzero(counts)
        signed = occurring.astype(np.uint16).view(np.int16).astype(np.int64)
        category = np.frexp(np.abs(signed))[1].astype(np.int64)  # bits of the magnitude
        often = np.bincount(category, weights=counts[occurring], minlength=_CATEGORIES)
        lengths, symbols = huffman_lengths(often.astype(np.int64).tolist())
        self.segment = (
            struct.pack(">HHB", 0xFFC4, 19 + len(symbols), 0) + bytes(lengths) + bytes(symbols)
        )
        codes = np.zeros(_CATEGORIES, np.int64)
        code_lengths = np.zeros(_CATEGORIES, np.int64)
        code, following = 0, iter(symbols)
        for length, count in enumerate(lengths, 1):
            for _ in range(count):
                symbol = next(following)
                codes[symbol], code_lengths[symbol] = code, length
                code += 1
            code <<= 1
        # There is one difference of 16 bits alone, which needs no more (H.1.2.2).
        further = np.where(category == _CATEGORIES - 1, 0, category)
        which = (signed - (signed < 0)) & ((1 << further) - 1)
        self._bits = np.empty(1 << 16, np.uint64)
        self._bits[occurring] = (codes[category] << further) | which
        self._lengths = np.empty(1 << 16, np.uint8)
        self._lengths[occurring] = code_lengths[category] + further

    def look_up(self, differences: npt.NDArray[np.uint16]) -> tuple[_Bits, _Lengths]:
        """Return the bits of each, right-aligned, and how many they are: 31 at most."""
        at = differences.astype(np.intp)
        return self._bits.take(at), self._lengths.take(at)


def huffman_lengths(counts: list[int]) -> tuple[list[int], list[int]]:
    """Return the best code lengths for symbols that occur so often, none above 16 bits (K.2).

    Returns:
        How many codes there are of each length from 1 to 16; the symbols, shortest code first.
    """
    trees: list[tuple[int, int, tuple[int, ...]]] = [(0, _RESERVED, (_RESERVED,))]
    trees += [(count, symbol, (symbol,)) for symbol, count in enumerate(counts) if count]
    depth = dict.fromkeys((tree[1] for tree in trees), 0)
    heapq.heapify(trees)
    while len(trees) > 1:
        first, second = heapq.heappop(trees), heapq.heappop(trees)
        joined = first[2] + second[2]
        for symbol in joined:
            depth[symbol] += 1
        heapq.heappush(trees, (first[0] + second[0], max(first[1], second[1]), joined))
    of_length = [0] * (len(depth) + 1 + _MAX_CODE_BITS)
    for length in depth.values():
        of_length[length] += 1
    for length in range(len(of_length) - 1, _MAX_CODE_BITS, -1):
        while of_length[length]:
            # Of two longest codes one takes the place of both; another, shorter one is split.
            shorter = max(each for each in range(1, length - 1) if of_length[each])
            of_length[length] -= 2
            of_length[length - 1] += 1
            of_length[shorter] -= 1
            of_length[shorter + 1] += 2
    longest = max(length for length, count in enumerate(of_length) if count)
    of_length[longest] -= 1  # the reserved one
    del depth[_RESERVED]
    return of_length[1 : _MAX_CODE_BITS + 1], sorted(depth, key=lambda each: (depth[each], each))


class _Packer:
    """Puts bits behind each other; less than a byte waits for those that follow."""

    def __init__(self) -> None:
        self._bits, self._length = 0, 0

    def pack(self, bits: _Bits, lengths: _Lengths) -> bytes:
        """Return the whole bytes of what waits and of `bits`, each of 1 to 63 of them."""
        while len(bits) > 1 and 2 * int(lengths.max()) <= _WORD:
            bits, lengths = _join_neighbors(bits, lengths)
        end = np.cumsum(lengths, dtype=np.int64)
        end += self._length
        total = int(end[-1])
        start = end - lengths
        word = start >> 6
        free = ((word + 1) << 6) - end  # bits of the word behind these; below 0: beyond it
        words = np.zeros(total // _WORD + 2, np.uint64)
        first = np.concatenate(([0], np.flatnonzero(word[1:] != word[:-1]) + 1))
        words[word[first]] = np.bitwise_or.reduceat(_shifted(bits, free), first)
        across = np.flatnonzero(free < 0)
        words[word[across] + 1] |= bits[across] << (_WORD + free[across]).astype(np.uint64)
        words[0] |= np.uint64(self._bits << (_WORD - self._length))
        packed = words.byteswap().tobytes()
        whole, self._length = divmod(total, 8)
        self._bits = packed[whole] >> (8 - self._length)
        return packed[:whole]

    def end(self) -> bytes:
        """Return the last byte, filled up with ones (F.1.2.3)."""
        if not self._length:
            return b""
        missing = 8 - self._length
        return bytes([(self._bits << missing) | ((1 << missing) - 1)])


def _join_neighbors(bits: _Bits, lengths: _Lengths) -> tuple[_Bits, _Lengths]:
    """Join each two; none of the results is longer than a word."""
    if len(bits) % 2:
        bits, lengths = np.append(bits, np.uint64(0)), np.append(lengths, np.uint8(0))
    second = lengths[1::2]
    joined = bits[0::2] << second.astype(np.uint64)  # never by a whole word: each has a bit
    joined |= bits[1::2]
    return joined, lengths[0::2] + second


def _shifted(bits: _Bits, left: npt.NDArray[np.int64]) -> _Bits:
    """Return bits shifted to the left, or to the right where that is below 0."""
    shifted: _Bits = bits << np.maximum(left, 0).astype(np.uint64)
    shifted >>= np.maximum(-left, 0).astype(np.uint64)
    return shifted


def _frame_header(rows: int, columns: int, precision: int, component_ids: bytes) -> bytes:
    """SOF3, no subsampling (B.2.2)."""
    count = len(component_ids)
    head = struct.pack(">HHBHHB", 0xFFC3, 8 + 3 * count, precision, rows, columns, count)
    return head + b"".join(bytes([each, 0x11, 0]) for each in component_ids)


def _scan_header(component_ids: bytes) -> bytes:
    """SOS: one table for all components, predictor 1, no point transform (B.2.3, table H.1)."""
    count = len(component_ids)
    head = struct.pack(">HHB", 0xFFDA, 6 + 2 * count, count)
    return head + b"".join(bytes([each, 0]) for each in component_ids) + bytes([1, 0, 0])
