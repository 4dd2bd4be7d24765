"""The markers of an HTJ2K code stream, walked through before OpenJPH sees them.

OpenJPH takes what a stream says on trust: without a CAP segment, with code blocks that none may
have or tile-parts that end elsewhere it reads and writes beyond its memory. So a stream whose
segments are not those of ISO/IEC 15444-1 Annex A and 15444-15 is refused.
"""

import struct

from dicomferry.errors import InstanceError, Reason

_SIZ, _CAP, _COD, _QCD, _SOT, _EOC = 0xFF51, 0xFF50, 0xFF52, 0xFF5C, 0xFF90, 0xFFD9
# COC, TLM, PRF, PLM, CPF, QCC, RGN, POC, CRG, COM: may be there too.
_OTHERS = {0xFF53, 0xFF55, 0xFF56, 0xFF57, 0xFF59, 0xFF5D, 0xFF5E, 0xFF5F, 0xFF63, 0xFF64}
_ONCE = {_SIZ, _CAP, _COD, _QCD}
_MAX_LEVELS = 32
_HIGH_THROUGHPUT = 0x40
_NO_QUANTIZATION, _DERIVED, _EXPOUNDED = 0, 1, 2


def check_segments(stream: bytes) -> None:
    """Refuse a raw code stream whose main header or tile-parts break their rules.

    Raises:
        InstanceError: CODE_STREAM_INVALID.
    """
    start = stream.find(b"\xff\x4f\xff\x51")
    try:
        if start < 0 or not _check_tile_parts(stream, _check_main_header(stream, start + 2)):
            raise InstanceError(Reason.CODE_STREAM_INVALID)
    except (struct.error, IndexError, KeyError):
        raise InstanceError(Reason.CODE_STREAM_INVALID) from None


def _check_main_header(stream: bytes, position: int) -> int:
    """Return the offset of the first tile-part."""
    found: dict[int, bytes] = {}
    while True:
        marker, length = struct.unpack_from(">HH", stream, position)
        if marker == _SOT:
            break
        segment = stream[position + 4 : position + 2 + length]
        is_known = marker in _ONCE - found.keys() or marker in _OTHERS
        if not is_known or len(segment) != length - 2:
            raise InstanceError(Reason.CODE_STREAM_INVALID)
        found[marker] = segment
        position += 2 + length
    if found.keys() >= _ONCE and _fits(found[_COD], found[_QCD]):
        return position
    raise InstanceError(Reason.CODE_STREAM_INVALID)


def _fits(cod: bytes, qcd: bytes) -> bool:
    """Whether coding style (A.6.1) and quantization (A.6.4) are whole and agree."""
    scod, levels, width, height, style = cod[0], cod[5], cod[6], cod[7], cod[8]
    steps = {
        _NO_QUANTIZATION: 1 + 3 * levels,
        _DERIVED: 2,
        _EXPOUNDED: 2 + 6 * levels,
    }
    return (
        levels <= _MAX_LEVELS
        and len(cod) == 10 + (levels + 1 if scod & 1 else 0)
        # Exponents less 2: at most 1024 x 1024, and 4096 samples.
        and max(width, height) <= 8
        and width + height <= 8
        and bool(style & _HIGH_THROUGHPUT)
        and len(qcd) - 1 >= steps[qcd[0] & 0x1F]
    )


def _check_tile_parts(stream: bytes, position: int) -> bool:
    """Whether tile-parts follow each other to the end marker (A.4.2)."""
    while True:
        marker, length, _, size = struct.unpack_from(">HHHL", stream, position)
        if marker != _SOT or length != 10:
            return False
        if not size:  # up to the end
            return True
        position += size
        if size < 14 or position + 2 > len(stream):
            return False
        if struct.unpack_from(">H", stream, position)[0] == _EOC:
            return True
