"""Import, export and pydicom see the same elements in the same places, however they are encoded."""

import random
from collections.abc import Iterator
from io import BytesIO
from time import process_time
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement

from dicomferry.dicom.dicom_file import open_file
from dicomferry.dicom.elements import MAX_NESTING, Element, ElementReader
from dicomferry.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    UNDEFINED_LENGTH,
    DataSetEncoding,
)
from dicomferry.dicom.header import open_header, read_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.dicom.raw_elements import RawElement, read_items
from dicomferry.dicom.tags import ITEM_END, PIXEL_DATA_TAGS, SEQUENCE_END
from dicomferry.dicom.transfer_syntaxes import SYNTAXES
from dicomferry.errors import InstanceError
from tests.dicom.factories import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    delimiter,
    element,
    file_meta,
    identity,
    item,
    part10,
    sequence,
)
from tests.dicom.test_hostile import MUTANTS, mutate, seeds
from tests.pixels.instances import to_dicom

CONTENT = 0x0040A730  # Content Sequence, nests in itself
ENCODINGS = {IMPLICIT: IMPLICIT_LITTLE, EXPLICIT: EXPLICIT_LITTLE, BIG_ENDIAN: EXPLICIT_BIG}
TARGETS = {IMPLICIT: "", EXPLICIT: ".1", DEFLATED: ".1.99"}
WORDS = {"US": 2, "OW": 2, "AT": 2, "UL": 4, "FD": 8}
PUBLIC = {
    0x00080060: "CS",
    0x0040A160: "UT",
    0x00100010: "PN",
    0x00181100: "DS",
    0x00280008: "IS",
    0x00280009: "AT",
    0x00280010: "US",
    0x00420011: "OB",
    0x00281201: "OW",
    0x00081163: "FD",
    0x00081161: "UL",
}
SEQUENCES = (CONTENT, 0x00081140, 0x0040A168)


class Leaf(NamedTuple):
    """An element with a value; the value is in little endian."""

    tag: int
    vr: str
    value: bytes

    def encode(self, encoding: DataSetEncoding) -> bytes:
        size = WORDS.get(self.vr, 1) if encoding.order == ">" else 1
        words = (self.value[at : at + size] for at in range(0, len(self.value), size))
        return element(self.tag, self.vr, b"".join(word[::-1] for word in words), encoding)


class Nest(NamedTuple):
    """A sequence; each item says whether its length is undefined."""

    tag: int
    undefined: bool
    items: list[tuple[bool, list[Any]]]

    def encode(self, encoding: DataSetEncoding) -> bytes:
        return sequence(
            self.tag,
            *encoded_items(self.items, encoding),
            encoding=encoding,
            undefined=self.undefined,
        )


class Unknown(NamedTuple):
    """A private sequence in UN of undefined length: Implicit VR Little Endian (PS3.5 6.2.2)."""

    tag: int
    items: list[tuple[bool, list[Any]]]

    def encode(self, encoding: DataSetEncoding) -> bytes:
        value = b"".join(encoded_items(self.items, IMPLICIT_LITTLE)) + delimiter(SEQUENCE_END)
        return element(self.tag, "UN", value, encoding, UNDEFINED_LENGTH)


def encoded_items(
    items: list[tuple[bool, list[Any]]], encoding: DataSetEncoding
) -> Iterator[bytes]:
    for undefined, data_set in items:
        yield item(encode(data_set, encoding), encoding.order, undefined)


def encode(data_set: list[Any], encoding: DataSetEncoding) -> bytes:
    return b"".join(each.encode(encoding) for each in data_set)


def file_of(data_set: list[Any], syntax: str) -> bytes:
    """Return an instance in one of the native transfer syntaxes."""
    encoding = ENCODINGS.get(syntax, EXPLICIT_LITTLE)
    return part10(identity(encoding=encoding) + encode(data_set, encoding), syntax)


values = st.binary(max_size=24).map(lambda value: value + bytes(-len(value) % 8))
leaves = st.builds(lambda one, value: Leaf(*one, value), st.sampled_from([*PUBLIC.items()]), values)
private_leaves = st.builds(Leaf, st.integers(0x00091001, 0x00091008), st.just("UN"), values)


def data_sets_of(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    creator = Leaf(0x00090010, "LO", b"NOBODY")
    return st.lists(elements, max_size=5, unique_by=lambda each: each.tag).map(
        lambda found: [creator, *found]
    )


def nests_of(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    items = st.lists(st.tuples(st.booleans(), data_sets_of(elements)), max_size=3)
    public = st.builds(Nest, st.sampled_from(SEQUENCES), st.booleans(), items)
    return public | st.builds(Unknown, st.integers(0x00091009, 0x00091010), items)


data_sets = data_sets_of(st.recursive(leaves | private_leaves, nests_of, max_leaves=16))


def check_same_places(file: bytes) -> None:
    """Assert that the header reader and the transcoder find the same elements in a file."""
    start = open_header(BytesReader(file))
    opened = open_file(BytesReader(file))
    assert (opened.encoding, opened.syntax.uid) == (start.encoding, start.transfer_syntax_uid)
    events = ElementReader(start.window).read(start.offset, start.encoding)
    elements = [*opened.elements, *([opened.pixels] if opened.pixels else [])]
    check_data_set(events, elements, opened.buffer, opened.encoding, 1)


def check_data_set(
    events: Iterator[Element],
    elements: list[RawElement],
    buffer: bytes,
    encoding: DataSetEncoding,
    depth: int,
) -> None:
    left = iter(elements)
    for tag, vr, offset, length, value in events:
        if tag == ITEM_END and not vr:
            break
        each = next(left)
        assert (each.tag, each.value) == (tag, offset)
        assert each.undefined == (length == UNDEFINED_LENGTH)
        assert each.undefined or each.end == offset + length
        assert not value or buffer[each.value : each.end] == value
        if vr != "SQ" or (depth == 1 and tag in PIXEL_DATA_TAGS):
            continue
        items = read_items(buffer, each, encoding, depth)
        for item_tag, order, _, item_length, _ in events:
            if item_tag == SEQUENCE_END and not order:
                break
            found = next(items)
            assert found.encoding.order == order
            assert found.undefined == (item_length == UNDEFINED_LENGTH)
            check_data_set(events, found.elements, buffer, found.encoding, depth + 1)
        assert next(items, None) is None
    assert next(left, None) is None


def tree(events: Iterator[Element], file: bytes) -> dict[int, Any]:
    """Return the values by tag, of sequences their items, as the header reader finds them."""
    found: dict[int, Any] = {}
    for tag, vr, offset, length, _ in events:
        if tag == ITEM_END:
            break
        if vr == "SQ":
            found[tag] = []
            for item_tag, *_ in events:
                if item_tag == SEQUENCE_END:
                    break
                found[tag].append(tree(events, file))
        else:
            found[tag] = b"" if length == UNDEFINED_LENGTH else file[offset : offset + length]
    return found


def pydicom_tree(data_set: Dataset, like: dict[int, Any]) -> dict[int, Any]:
    """Return the same of pydicom; what the bytes leave open follows `like`."""
    found: dict[int, Any] = {}
    for tag in data_set.keys():  # noqa: SIM118 (iterating the data set itself decodes it)
        raw = data_set.get_item(tag)
        expected = like.get(int(tag))
        if isinstance(raw, RawDataElement) and not isinstance(expected, list):
            found[int(tag)] = raw.value or b""
            continue
        inner = data_set[tag].value or []
        found[int(tag)] = [
            pydicom_tree(each, expected[at] if expected and at < len(expected) else {})
            for at, each in enumerate(inner)
        ]
        if not inner and expected == b"":  # no item tells that it is a sequence
            found[int(tag)] = b""
    return found


def has_unknown(data_set: list[Any]) -> bool:
    return any(
        isinstance(each, Unknown)
        or (isinstance(each, Nest) and any(has_unknown(inner) for _, inner in each.items))
        for each in data_set
    )


@pytest.mark.parametrize("syntax", ENCODINGS)
@given(data_set=data_sets)
@settings(max_examples=120, deadline=None, derandomize=True)
def test_import_export_and_pydicom_see_the_same_elements(syntax: str, data_set: list[Any]) -> None:
    file = file_of(data_set, syntax)
    assert read_header(BytesReader(file)).transfer_syntax_uid == syntax
    check_same_places(file)
    start = open_header(BytesReader(file))
    ours = tree(ElementReader(start.window).read(start.offset, start.encoding), file)
    if syntax != BIG_ENDIAN or not has_unknown(data_set):  # pydicom takes these for big endian
        assert pydicom_tree(dcmread(BytesIO(file)), ours) == ours


@pytest.mark.parametrize("syntax", ENCODINGS)
@pytest.mark.parametrize("target", TARGETS)
@given(data_set=data_sets)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_an_export_is_what_the_target_encodes(
    syntax: str, target: str, data_set: list[Any]
) -> None:
    """Byte by byte: lengths stay defined or undefined, as they were."""
    file = file_of(data_set, syntax)
    exported = open_file(BytesReader(to_dicom(file, TARGETS[target])))
    expected = open_file(BytesReader(file_of(data_set, target)))
    start, expected_start = exported.elements[0].start, expected.elements[0].start
    assert exported.buffer[start:] == expected.buffer[expected_start:]


def nested(levels: int, undefined: bool) -> list[Any]:
    data_set: list[Any] = [Leaf(0x00100010, "PN", b"A ")]
    for _ in range(levels):
        data_set = [Nest(CONTENT, undefined, [(undefined, data_set)])]
    return data_set


@pytest.mark.parametrize("levels", [33, 34, 64, 65, MAX_NESTING])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_whatever_is_nested_up_to_the_bound_is_imported_and_exported(
    syntax: str, undefined: bool, levels: int
) -> None:
    data_set = nested(levels, undefined)
    file = file_of(data_set, syntax)
    assert read_header(BytesReader(file)).transfer_syntax_uid == syntax
    check_same_places(file)
    for target, end in TARGETS.items():
        exported = open_file(BytesReader(to_dicom(file, end)))
        encoding = ENCODINGS.get(target, EXPLICIT_LITTLE)
        assert exported.buffer.endswith(encode(data_set, encoding))


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_one_level_more_is_refused_by_both_with_the_same_code(syntax: str, undefined: bool) -> None:
    file = file_of(nested(MAX_NESTING + 1, undefined), syntax)
    with pytest.raises(InstanceError, match="NESTED_TOO_DEEP"):
        read_header(BytesReader(file))
    with pytest.raises(InstanceError, match="NESTED_TOO_DEEP"):
        to_dicom(file, ".1" if syntax == IMPLICIT else "")


def test_whatever_the_import_accepts_the_transcoder_opens() -> None:
    """Files damaged at random: a header that is read is read alike by both."""
    dice = random.Random("one reader")
    files = seeds()
    accepted = 0
    for data in [*files, *(mutate(dice.choice(files), dice) for _ in range(MUTANTS))]:
        try:
            syntax = read_header(BytesReader(data)).transfer_syntax_uid
        except InstanceError:
            continue
        if syntax in SYNTAXES and syntax != DEFLATED:  # an export needs all of a deflated stream
            check_same_places(data)
            accepted += 1
    assert accepted > MUTANTS / 10


@pytest.mark.parametrize("zeros", [8, 512, 100_000])
@pytest.mark.parametrize("syntax", ENCODINGS)
def test_zeros_before_more_elements_do_not_end_a_data_set(syntax: str, zeros: int) -> None:
    encoding = ENCODINGS[syntax]
    after = [Leaf(0x00280010, "US", b"\x40\0"), *nested(2, undefined=True)]
    head = identity(encoding=encoding)
    file = part10(head + bytes(zeros) + encode(after, encoding) + bytes(20), syntax)
    assert b'"00280010":{"vr":"US","Value":[64]}' in read_header(BytesReader(file)).metadata
    check_same_places(file)
    for target, end in TARGETS.items():
        if target != syntax:  # of the same syntax an export is a copy
            exported = open_file(BytesReader(to_dicom(file, end)))
            written = b"".join(exported.buffer[each.start : each.end] for each in exported.elements)
            assert written.endswith(encode(after, ENCODINGS.get(target, EXPLICIT_LITTLE)))


def test_of_two_groups_of_file_meta_the_first_one_counts_for_both() -> None:
    meta = file_meta(IMPLICIT) + file_meta(EXPLICIT)
    file = part10(identity(encoding=IMPLICIT_LITTLE), meta=meta)
    header = read_header(BytesReader(file))
    assert header.transfer_syntax_uid == open_file(BytesReader(file)).syntax.uid == IMPLICIT
    assert f'"00020010":{{"vr":"UI","Value":["{IMPLICIT}"]}}'.encode() in header.metadata
    check_same_places(file)


def test_file_meta_in_implicit_vr_is_imported_and_exported() -> None:
    meta = element(0x00020010, "UI", IMPLICIT + "\0", IMPLICIT_LITTLE)
    file = part10(identity(encoding=IMPLICIT_LITTLE), meta=meta)
    check_same_places(file)
    exported = dcmread(BytesIO(to_dicom(file, ".1")))
    assert exported.file_meta.TransferSyntaxUID == EXPLICIT
    assert exported.SOPInstanceUID == read_header(BytesReader(file)).sop_instance_uid


def test_runs_of_zeros_cost_no_more_than_their_length() -> None:
    """Many short ones are not searched to the end of the buffer each."""
    gap_and_element = bytes(8) + element(0x00280010, "US", b"\x40\0")

    def seconds(count: int) -> float:
        file = part10(identity() + gap_and_element * count)
        start = process_time()
        assert len(open_file(BytesReader(file)).elements) == count + 4
        read_header(BytesReader(file))
        return process_time() - start

    # Eight times as many cost some eight times as much, not 64 times.
    assert seconds(160_000) < 30 * min(seconds(20_000) for _ in range(3))
