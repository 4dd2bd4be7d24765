"""The Metadata of an instance: its data set in the DICOM JSON model (PS3.18 Annex F).

Written straight from the encoded elements into JSON text; building pydicom's objects first takes
more than five times as long. The text differs from pydicom's for the same data set in
this only:

- DS and IS are strings: no digit is lost.
- A value that does not fit its VR is its raw text.
- An empty value among others is null in every VR.
- VRs that the dictionary leaves open are always decided: "OB or OW" and its like become OW, or OB
  if encapsulated, and so does (0028,3006) LUT Data without a VR.
- The File Meta Information (group 0002) is included.
- Binary values are by reference: the BulkDataURI "?offset=N&length=M" counts from the start of
  the file, that of a deflated data set from the start of the inflated one (group 0002 is never
  deflated). It has no length if the file gives none: encapsulated values, from their first item.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from dicomferry.dicom.charsets import DEFAULT_CODECS, codecs_of
from dicomferry.dicom.dictionary import STANDARD_VR
from dicomferry.dicom.elements import Element
from dicomferry.dicom.encoding import UNDEFINED_LENGTH
from dicomferry.dicom.json_values import writers
from dicomferry.dicom.tags import (
    ITEM,
    ITEM_END,
    PIXEL_REPRESENTATION,
    SEQUENCE_END,
    SPECIFIC_CHARACTER_SET,
)
from dicomferry.dicom.vr import ITEM_ORDER
from dicomferry.errors import InstanceError, Reason

# Together with the bound on its bytes this bounds the memory that a header may take.
MAX_ELEMENTS = 5_000_000
# Items are written from the inside out, each level once more: this bounds the time of deep nesting
# around much text. Real headers, four levels deep at the bound on their bytes, stay below.
MAX_ITEM_CHARACTERS = 1 << 30
# Their first value counts entries: where a writer made it negative, it overflowed (PS3.3 C.11.1.1).
_LUT_DESCRIPTORS = frozenset({0x00281101, 0x00281102, 0x00281103, 0x00283002})
_SPECIAL = _LUT_DESCRIPTORS | {SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION}
# What comes before (0008,0005) in every data set: of group 0008 there is no text.
_FIRST = frozenset({0x00080000, 0x00080001, SPECIFIC_CHARACTER_SET})
_MAIN = 0x00030000
_KEYS = {tag: f'"{tag:08X}":{{"vr":"' for tag in STANDARD_VR}


class Metadata(NamedTuple):
    """A data set as JSON, and some of its values.

    Attributes:
        json: DICOM JSON, UTF-8.
        values: the encoded values of the wanted top-level tags that the data set has; b"" for a
            sequence.
    """

    json: bytes
    values: dict[int, bytes]


class _State(NamedTuple):
    """What decides how the values of a data set are read, those before it as well.

    Attributes:
        charset: the value of (0008,0005) Specific Character Set, None if the data set has none.
        signed: what (0028,0103) Pixel Representation says, None if the data set has none.
    """

    charset: bytes | None = None
    signed: bool | None = None


class _OutOfOrderError(Exception):
    """A value that came before decides how to read this one, or the other way round."""


class _Level:
    """A data set being written, with the state that its items inherit."""

    __slots__ = ("codecs", "items", "members", "order", "sequence", "signed", "undecided")

    def __init__(self, codecs: tuple[str, ...], order: str, signed: bool) -> None:
        self.codecs = codecs  # (0008,0005)
        self.order = order  # of bytes
        self.signed = signed  # (0028,0103)
        self.undecided = False  # an "US or SS" was read without the data set's own (0028,0103)
        self.members: dict[int, str] = {}
        self.sequence = 0  # the tag of the sequence that is being written, and its items so far
        self.items: list[str] = []

    def settle(self, state: _State) -> None:
        """Take what the data set itself says, before its elements come."""
        if state.charset is not None:
            self.codecs = codecs_of(state.charset)
        if state.signed is not None:
            self.signed = state.signed


def encode(
    file_meta: Iterable[Element],
    walk: Callable[[], Iterable[Element]],
    order: str,
    wanted: frozenset[int],
) -> Metadata:
    """Write a data set as DICOM JSON.

    (0008,0005) and (0028,0103) hold for their whole data set. Where they come after a value that
    they decide, the elements are walked again.

    Args:
        file_meta: the elements of group 0002, always little endian.
        walk: returns the elements as `ElementReader` gives them, from the first one on. Of a tag
            that comes twice the last one counts.
        order: the byte order of the data set, "<" or ">".
        wanted: the top-level tags whose encoded values are returned as well.

    Raises:
        InstanceError: HEADER_TOO_LARGE, or as `walk` raises.
    """
    members = dict(_write_file_meta(file_meta))
    try:
        return _encode(members.copy(), walk(), order, wanted, None)
    except _OutOfOrderError:
        states = _states_of(walk())
        return _encode(members, walk(), order, wanted, states)


def _states_of(elements: Iterable[Element]) -> list[_State]:
    """Return the state of the data set and of each of its items, in the order that they start."""
    states = [_State()]
    path = [0]
    for tag, vr, _, _, value in islice(elements, MAX_ELEMENTS):
        if tag == ITEM and vr in ITEM_ORDER.values():
            path.append(len(states))
            states.append(_State())
        elif tag == ITEM_END and not vr:
            path.pop()
        elif tag == SPECIFIC_CHARACTER_SET:
            states[path[-1]] = states[path[-1]]._replace(charset=value)
        elif tag == PIXEL_REPRESENTATION:
            states[path[-1]] = states[path[-1]]._replace(signed=any(value))
    return states


def _encode(  # noqa: PLR0912, PLR0915 - a call an element would cost a fifth of the speed
    members: dict[int, str],
    elements: Iterable[Element],
    order: str,
    wanted: frozenset[int],
    states: list[_State] | None,
) -> Metadata:
    """Write a data set after the `members` of group 0002, with its `states` if they are known.

    Raises:
        _OutOfOrderError: they have to be known.
        InstanceError: as `encode`.
    """
    level = _Level(DEFAULT_CODECS, order, signed=False)
    told = iter(states or ())
    if states:
        level.settle(next(told))
    level.members = members
    outer: list[_Level] = []
    writer_of = writers(level.codecs, order).get
    key_of = _KEYS.get
    special = _SPECIAL | wanted
    values: dict[int, bytes] = {}
    written = 0

    counted = iter(elements)
    for tag, vr, offset, length, value in islice(counted, MAX_ELEMENTS):
        key = key_of(tag) or _other_key(tag, vr)
        write = writer_of(vr)
        if write is not None:
            text = write(value)
            members[tag] = f'{key}{vr}","Value":[{text}]}}' if text else f'{key}{vr}"}}'
            if tag in special:
                if tag in wanted and not outer:
                    values[tag] = value
                if tag == SPECIFIC_CHARACTER_SET:
                    if not states and level.codecs != (codecs := codecs_of(value)):
                        if not all(before in _FIRST or before < _MAIN for before in members):
                            raise _OutOfOrderError
                        level.codecs = codecs
                        writer_of = writers(codecs, level.order).get
                elif tag == PIXEL_REPRESENTATION:
                    if not states and level.signed != any(value):
                        if level.undecided:
                            raise _OutOfOrderError
                        level.signed = any(value)
                elif vr == "SS" and tag in _LUT_DESCRIPTORS:
                    members[tag] = f'{key}SS","Value":[{_unsigned_first(text)}]}}'
        elif vr == "US or SS":
            vr = "SS" if level.signed else "US"  # noqa: PLW2901
            for each in (*outer, level):
                each.undecided = True
            text = writers(level.codecs, level.order)[vr](value)
            if tag in _LUT_DESCRIPTORS:
                text = _unsigned_first(text)
            members[tag] = f'{key}{vr}","Value":[{text}]}}' if text else f'{key}{vr}"}}'
        elif vr == "SQ":
            level.sequence, level.items = tag, []
            if tag in wanted and not outer:
                values[tag] = b""
        elif tag == ITEM:
            outer.append(level)
            level = _Level(level.codecs, vr, level.signed)
            if states:
                level.settle(next(told))
            members = level.members
            writer_of = writers(level.codecs, vr).get
        elif tag == ITEM_END:
            item = f"{{{','.join(members.values())}}}"
            written += len(item)
            if written > MAX_ITEM_CHARACTERS:
                raise InstanceError(Reason.HEADER_TOO_LARGE)
            level = outer.pop()
            members = level.members
            writer_of = writers(level.codecs, level.order).get
            level.items.append(item)
        elif tag == SEQUENCE_END:
            tag = level.sequence  # noqa: PLW2901
            key = key_of(tag) or _other_key(tag, "SQ")
            members[tag] = f'{key}SQ","Value":[{",".join(level.items)}]}}'
            level.items = []
        else:
            members[tag] = f"{key}{_by_reference(vr, offset, length)}}}"
    if next(counted, None) is not None:
        raise InstanceError(Reason.HEADER_TOO_LARGE)
    return Metadata(("{" + ",".join(members.values()) + "}").encode(), values)


def _write_file_meta(file_meta: Iterable[Element]) -> Iterator[tuple[int, str]]:
    """Yield the members of group 0002, which has neither sequences nor other character sets."""
    writer_of = writers(DEFAULT_CODECS, "<")
    for tag, vr, offset, length, value in file_meta:
        if vr not in writer_of:
            yield tag, f"{_other_key(tag, vr)}{_by_reference(vr, offset, length)}}}"
        elif text := writer_of[vr](value):
            yield tag, f'{_other_key(tag, vr)}{vr}","Value":[{text}]}}'
        else:
            yield tag, f'{_other_key(tag, vr)}{vr}"}}'


@lru_cache(maxsize=4096)
def _other_key(tag: int, vr: str) -> str:
    """Return how the member of a private or unknown tag starts.

    Raises:
        InstanceError: MALFORMED if it is that of an item or a delimiter, which have no VR.
    """
    if tag >> 16 == ITEM >> 16 and len(vr) > 1:
        raise InstanceError(Reason.MALFORMED)
    return f'"{tag:08X}":{{"vr":"'


def _by_reference(vr: str, offset: int, length: int) -> str:
    """Write VR and reference of a binary value, without the closing bracket."""
    if " " in vr or "_" in vr:  # left open by the dictionary
        vr = "OB" if length == UNDEFINED_LENGTH else "OW"  # PS3.5 A.1, A.4
    if not length:
        return f'{vr}"'
    if length == UNDEFINED_LENGTH:
        return f'{vr}","BulkDataURI":"?offset={offset}"'
    return f'{vr}","BulkDataURI":"?offset={offset}&length={length}"'


def _unsigned_first(text: str) -> str:
    """Return the values with the first one modulo 2^16."""
    first, comma, rest = text.partition(",")
    return f"{int(first) + 65536}{comma}{rest}" if comma and first.startswith("-") else text
