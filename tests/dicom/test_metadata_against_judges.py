"""Metadata beside what pydicom and dcmdump make of the same files, odd ones among them.

Where both judges read a file and agree, Metadata says the same. Where they differ from each other,
the Standard decides: `DISPUTES` has the sections, and a test each.
DICOMFERRY_JUDGED_FILES is how many files are drawn.
"""

import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pydicom.data
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dicomferry.dicom.encoding import IMPLICIT_LITTLE
from dicomferry.dicom.header import open_header
from dicomferry.dicom.range_reader import BytesReader
from dicomferry.errors import InstanceError
from tests.corpus import CORPUS, corpus_files
from tests.dicom.dcmdump import dump, dumped_differences
from tests.dicom.encodings import Odd, odd_file
from tests.dicom.factories import (
    EXPLICIT,
    IMPLICIT,
    element,
    file_meta,
    identity,
    item,
    part10,
    sequence,
)
from tests.dicom.reference import differences, expected_metadata, resolved_metadata
from tests.dicom.test_json_model_against_pydicom import deflated_at, metadata_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
_DRAWN = 400
DRAWN = int(os.environ.get("DICOMFERRY_JUDGED_FILES", _DRAWN))
_MAX_REAL = 200_000  # bytes; dcmdump writes out the pixels as well
_TEXT = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
_AT_ONCE = 400


class Place(NamedTuple):
    """A place where a judge differs from Metadata.

    Attributes:
        judge: pydicom or dcmdump.
        path: of the element.
        said: the difference in words.
        member: what Metadata has there; {} if it has nothing.
        charsets: (0008,0005) of the data sets that the element is in, from the outermost.
        oddities: of the file.
    """

    judge: str
    path: str
    said: str
    member: Any
    charsets: tuple[str, ...]
    oddities: frozenset[str]

    @property
    def is_text(self) -> bool:
        """The character set decides the value."""
        return self.member.get("vr") in _TEXT


def _zeros(place: Place) -> bool:
    return place.path == "/00000000"


def _no_vr(place: Place) -> bool:
    return place.judge == "pydicom" and "no VR" in place.oddities


def _two_metas(place: Place) -> bool:
    if "two metas before big endian" in place.oddities:  # dcmdump reads the second one as such
        return True
    return place.judge == "pydicom" and "two metas" in place.oddities


def _charset_of_an_item(place: Place) -> bool:
    return place.judge == "dcmdump" and place.is_text and any(place.charsets[1:])


def _chinese(place: Place) -> bool:
    return place.judge == "pydicom" and place.is_text and "\\x1b$)A" in place.said


def _after_another_set(place: Place) -> bool:
    switches = place.is_text and any("2022" in term for term in place.charsets)
    delimited = place.member.get("vr") == "PN" or len(place.member.get("Value", [])) > 1
    return place.judge == "pydicom" and switches and delimited


def _late_charset(place: Place) -> bool:
    nested = "[" in place.path
    return place.judge == "pydicom" and place.is_text and nested and "order" in place.oddities


def _katakana(place: Place) -> bool:
    has_yen = any(re.search(r"IR 13(\\|$)", term) for term in place.charsets)
    return place.judge == "dcmdump" and place.is_text and has_yen


def _signed(place: Place) -> bool:
    return place.judge == "dcmdump" and "vr='xs'" in place.said


def _private(place: Place) -> bool:
    is_private = int(place.path[-5], 16) % 2 == 1
    return place.judge == "dcmdump" and is_private and "vr='UN'" in place.said


def _us_or_ss(place: Place) -> bool:
    return place.judge == "pydicom" and place.member.get("vr") in ("US", "SS")


DISPUTES: dict[str, Callable[[Place], bool]] = {
    "PS3.5 7.1: zeros are no element": _zeros,
    "PS3.5 7.1: elements in implicit VR are not among those in explicit VR": _no_vr,
    "PS3.10 7.1: a file has one group of File Meta Information": _two_metas,
    "PS3.5 7.5.3: an item has the character set that its own (0008,0005) says": _charset_of_an_item,
    "PS3.5 7.5.3: an item without one has that of the data set around it": _late_charset,
    "PS3.5 K.2: the escape sequence of ISO 2022 IR 58 is no part of the text": _chinese,
    "PS3.5 6.1.2.5.3: values and groups of names start in the first set": _after_another_set,
    "PS3.5 6.1.2.3: 05/12 delimits values, whatever ISO-IR 14 shows for it": _katakana,
    "PS3.3 C.7.6.3.1: Pixel Representation decides, wherever it stands": _signed,
    "PS3.3 C.7.6.3.1: it decides for items without one": _us_or_ss,
    "PS3.5 7.8: who knows a private creator knows the VRs of its elements": _private,
}


class Judged(NamedTuple):
    """How the judges see some files.

    Attributes:
        read: how many files each judge reads; how many are read by both, one, none.
        undecided: places that no section explains.
        decided: how often each section decides.
    """

    read: Counter[str]
    undecided: list[str]
    decided: Counter[str]


def judge(files: dict[str, tuple[bytes, frozenset[str]]], folder: Path) -> Judged:
    """Compare Metadata of files, given with their oddities, with both judges."""
    judged = Judged(Counter(), [], Counter())
    dumps = dump({name: file for name, (file, _) in files.items()}, folder)
    for name, (file, oddities) in files.items():
        metadata = metadata_of(file)
        ours = json.loads(metadata)
        deflated = deflated_at(file)
        data_set = deflated and zlib.decompress(file[deflated:], -zlib.MAX_WBITS)
        found = {"pydicom": _by_pydicom(metadata, file, data_set or None)}
        if name in dumps:
            order = open_header(BytesReader(file)).encoding.order
            places = dumped_differences(ours, dumps[name], data_set or file, order)
            found["dcmdump"] = list(places)
        readers = [who for who, places in found.items() if places is not None]
        judged.read.update([*readers, ("none", "one", "both")[len(readers)]])
        for who in readers:
            for said in found[who] or ():
                place = _place(who, said, ours, oddities)
                section = next((key for key, is_it in DISPUTES.items() if is_it(place)), "")
                judged.decided[section] += 1
                if not section:
                    judged.undecided.append(f"{name} {who} {said}")
    return judged


def _by_pydicom(metadata: bytes, file: bytes, data_set: bytes | None) -> list[str] | None:
    """Return what pydicom says differs, None if it does not read the file."""
    try:
        expected = expected_metadata(file)
    except Exception:  # it raises what comes up
        return None
    return list(differences(resolved_metadata(metadata, file, data_set), expected))


def _place(who: str, said: str, ours: Any, oddities: frozenset[str]) -> Place:
    path = said.partition(" ")[0]
    member, charsets = ours, []
    for step in path.strip("/").split("/"):
        tag, _, number = step.rstrip("]").partition("[")
        charsets.append("\\".join(v or "" for v in member.get("00080005", {}).get("Value", [])))
        member = member.get(tag, {})
        if number:
            member = member["Value"][int(number)]
    return Place(who, path, said, member, tuple(charsets), oddities)


NAME, CONTENT, SIGNED = 0x00100010, 0x0040A730, 0x00280103


def _charset(term: str) -> bytes:
    return element(0x00080005, "CS", term + " " * (len(term) % 2))


def _name(value: bytes) -> bytes:
    return element(NAME, "PN", value + b" " * (len(value) % 2))


def _implicit(*elements: tuple[int, bytes]) -> bytes:
    data_set = identity(encoding=IMPLICIT_LITTLE)
    return part10(
        data_set + b"".join(element(tag, "", value, IMPLICIT_LITTLE) for tag, value in elements),
        IMPLICIT,
    )


def _nested(*elements: bytes) -> bytes:
    return sequence(CONTENT, item(b"".join(elements)), undefined=True)


def _cases() -> dict[str, tuple[bytes, str, str, Any]]:
    """Return for each section a file, what is odd about it, a place, and what the section says."""
    sections = iter(DISPUTES)
    meta = file_meta(EXPLICIT) + file_meta(IMPLICIT)
    no_vr = b"\x10\0\x10\x10??\x04\x00040Y"
    inner = f"{CONTENT:08X}.{NAME:08X}"
    signed = (0x00189810, b"\xfb\xff"), (SIGNED, b"\1\0")
    value = item(element(0x00189810, "", b"\xfb\xff", IMPLICIT_LITTLE))
    before = sequence(0x00081140, value, encoding=IMPLICIT_LITTLE, undefined=True)
    after = element(SIGNED, "", b"\1\0", IMPLICIT_LITTLE)
    cases = [
        (part10(bytes(8) + identity()), "zeros", "00000000", None),
        (part10(identity() + no_vr + _name(b"A^B")), "no VR", "00101010", ["040Y"]),
        (part10(identity(), meta=meta), "two metas", "00020010", [EXPLICIT]),
        (
            part10(
                _charset("ISO_IR 126")
                + identity()
                + _nested(_charset("ISO_IR 144"), _name(b"\xbb"))
            ),
            "",
            inner,
            [{"Alphabetic": "Л"}],
        ),
        (
            part10(_nested(_nested(_name(b"\xbb"))) + identity() + _charset("ISO_IR 144")),
            "order",
            f"{CONTENT:08X}.{inner}",
            [{"Alphabetic": "Л"}],
        ),
        (
            part10(_charset("\\ISO 2022 IR 58") + identity() + _name(b"a=\x1b$)A\xd5\xc5")),
            "",
            f"{NAME:08X}",
            [{"Alphabetic": "a", "Ideographic": "张"}],
        ),
        (
            part10(
                _charset("ISO 2022 IR 100\\ISO 2022 IR 144")
                + identity()
                + _name(b"\x1b-L\xbb\\\xc4")
            ),
            "",
            f"{NAME:08X}",
            [{"Alphabetic": "Л"}, {"Alphabetic": "Ä"}],
        ),
        (
            part10(_charset("ISO_IR 13") + identity() + _name(b"\xd4\\\xcf")),
            "",
            f"{NAME:08X}",
            [{"Alphabetic": "ﾔ"}, {"Alphabetic": "ﾏ"}],
        ),
        (_implicit(*signed), "", "00189810", [-5]),
        (
            part10(before + identity(encoding=IMPLICIT_LITTLE) + after, IMPLICIT),
            "",
            "00081140.00189810",
            [-5],
        ),
        (
            part10(
                element(0x00190010, "LO", "AGFA") + element(0x00191013, "UN", "E25 ") + identity()
            ),
            "",
            "00191013",
            ["E25"],
        ),
    ]
    return dict(zip(sections, cases, strict=True))


@pytest.mark.parametrize("section", DISPUTES)
def test_where_the_judges_differ_the_standard_decides(section: str, tmp_path: Path) -> None:
    file, oddity, path, expected = _cases()[section]
    judged = judge({"case": (file, frozenset({oddity} - {""}))}, tmp_path)
    assert judged.undecided == []
    assert section in judged.decided
    member = json.loads(metadata_of(file))
    *outer, tag = path.split(".")
    for each in outer:
        (member,) = member[each]["Value"]
    assert member.get(tag, {}).get("Value") == expected


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Files drawn by chance, and what the judges say of them."""
    odds: list[Odd] = []

    @settings(
        max_examples=DRAWN,
        deadline=None,
        derandomize=DRAWN == _DRAWN,
        database=None,
        phases=[Phase.generate],  # the files are small: the one that fails is told by its seed
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, (1 << 64) - 1))
    def draw(seed: int) -> None:
        odds.append(odd_file(seed))

    draw()
    total = Judged(Counter(), [], Counter())
    for start in range(0, len(odds), _AT_ONCE):
        part = {f"{odd.seed}": (odd.file, odd.oddities) for odd in odds[start : start + _AT_ONCE]}
        judged = judge(part, tmp_path_factory.mktemp("drawn"))
        total.read.update(judged.read)
        total.undecided.extend(judged.undecided)
        total.decided.update(judged.decided)
    return total


def test_metadata_of_drawn_files_is_what_the_judges_or_the_standard_say(drawn: Judged) -> None:
    assert drawn.undecided == []


def test_the_judges_read_most_of_the_drawn_files(drawn: Judged) -> None:
    """Without that the comparison would show nothing."""
    total = sum(drawn.read[number] for number in ("none", "one", "both"))
    assert total >= 0.9 * DRAWN
    assert drawn.read["both"] > 0.6 * total
    assert drawn.read["none"] < 0.1 * total


def test_metadata_of_the_files_of_pydicom_and_of_the_corpus(tmp_path: Path) -> None:
    folder = Path(pydicom.data.__file__).parent
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    paths += corpus_files() if CORPUS.is_dir() else []
    files = {}
    for path in paths:
        file = path.read_bytes()
        if len(file) > _MAX_REAL:
            continue
        try:
            metadata_of(file)
        except InstanceError:
            continue
        files[f"{len(files)}-{path.stem}"] = file, frozenset[str]()
    assert len(files) > 50
    assert judge(files, tmp_path).undecided == []
