"""dcmtk's dcmdump as a judge of Metadata: its dump of many files, made comparable.

It writes text in UTF-8, whatever the character set; of padding and of (0008,0005) itself it is no
judge, because it writes the one and changes the other.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from math import isclose, isnan
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.dicom.reference import PIXEL_DATA, Json, referenced

_OPTIONS = ("+F", "+L", "-Un", "+Qo", "+U8", "+uc", "-q")
_FILE = re.compile(r"# dcmdump \([0-9]+/[0-9]+\): (.*)")
_LINE = re.compile(
    r"( *)\(([0-9a-f]{4}),([0-9a-f]{4})\) (..) (.*?) +# +(?:[0-9]+|u/l), *[0-9]+ [^#\[\]]*"
)
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_NUL = re.compile(rb"\\(000)")  # in digits after a backslash nothing else is taken for octal ones
_OTHER_REPERTOIRE = ("LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_CHARSET = "00080005"


class Dumped(NamedTuple):
    """An element as dcmdump has it: VR, text of the value, and the items of a sequence."""

    vr: str
    text: str
    items: "list[Tree]"


Tree = dict[str, Dumped]


def dump(files: dict[str, bytes], folder: Path) -> dict[str, Tree]:
    """Return the data sets of the files that dcmdump reads, by their names; skips without it.

    Args:
        files: bytes by names without an ending.
        folder: where they may be written.
    """
    if shutil.which("dcmdump") is None:
        pytest.skip("dcmdump is missing: it comes with dcmtk")
    paths = []
    for name, data in files.items():
        (folder / f"{name}.dcm").write_bytes(data)
        paths.append(str(folder / f"{name}.dcm"))
    # Of one file alone it does not write the name.
    found = subprocess.run(
        ["dcmdump", *_OPTIONS, *paths, *paths[:1]], capture_output=True, check=False, timeout=300
    )
    return dict(_parse(found.stdout.decode("latin-1").split("\n")))


def _parse(lines: list[str]) -> Iterator[tuple[str, Tree]]:
    name, tree = "", dict[str, Dumped]()
    levels: list[Any] = []
    for line in lines:
        if match := _FILE.fullmatch(line):
            if tree:
                yield name, tree
            name, tree = Path(match[1]).stem, {}
            levels = [tree]
        elif match := _LINE.fullmatch(line):
            depth, tag = len(match[1]) // 2, (match[2] + match[3]).upper()
            del levels[depth + 1 :]
            if tag == "FFFEE000":
                if isinstance(levels[-1], list):
                    levels[-1].append({})
                    levels.append(levels[-1][-1])
            elif not tag.startswith("FFFE") and isinstance(levels[-1], dict):
                element = Dumped(match[4], match[5], [])
                levels[-1][tag] = element
                levels.append(element.items if element.vr == "SQ" else None)
    if tree:
        yield name, tree


def dumped_differences(
    ours: Json, theirs: Tree, data: bytes, order: str, path: str = ""
) -> Iterator[str]:
    """Yield what differs from Metadata, place by place.

    Args:
        ours: Metadata as `json.loads` has it.
        theirs: of the same data set.
        data: what references are counted in.
        order: of bytes in words.
        path: of the data set within others.
    """
    for tag in sorted(ours.keys() | theirs.keys()):
        place = f"{path}/{tag}"
        if tag == _CHARSET or tag.startswith("0002") or (not path and tag >= PIXEL_DATA[0]):
            continue
        if tag not in ours or tag not in theirs:
            yield f"{place} is only {'ours' if tag in ours else 'theirs'}"
            continue
        mine, other = ours[tag], theirs[tag]
        if mine["vr"] == "SQ" and other.vr == "SQ":
            items = mine.get("Value", [])
            if len(items) != len(other.items):
                yield f"{place} has another number of items"
            for number, pair in enumerate(zip(items, other.items, strict=False)):
                yield from dumped_differences(*pair, data, order, f"{place}[{number}]")
        elif not _is_equal(mine, other, data, order):
            yield f"{place} {mine} != {other}"


def _is_equal(mine: Json, other: Dumped, data: bytes, order: str) -> bool:
    vr, text, values = mine["vr"], other.text, mine.get("Value", [])
    if other.vr == "??":  # bytes, of whatever VR they are
        return True
    if other.vr not in (vr, "xs" if vr in ("US", "SS") else "", "ox" if vr == "OW" else ""):
        return False
    if text == "(no value available)":
        return not values and "BulkDataURI" not in mine
    if "BulkDataURI" in mine:
        is_encapsulated = text.startswith("(PixelSequence") and "length" not in mine["BulkDataURI"]
        return is_encapsulated or _bytes_of(mine, data, order) in (text.replace("\\", ""), None)
    if text.startswith("[") and text.endswith("]"):
        return _is_equal_text(text[1:-1].encode("latin-1"), values, vr)
    if vr == "AT":
        values = [f"({value[:4]},{value[4:]})".lower() for value in values]
    written = "\\".join(map(str, values))
    return text == written or (vr in ("FL", "FD") and _is_close(text.split("\\"), values))


def _is_equal_text(quoted: bytes, values: list[Any], vr: str) -> bool:
    octal = _OCTAL if vr in _OTHER_REPERTOIRE else _NUL
    text = octal.sub(lambda match: bytes([int(match[1], 8)]), quoted).decode("utf-8", "replace")
    return _texts(text, vr) == _texts(_joined(values), vr)


def _is_close(texts: list[str], values: list[Any]) -> bool:
    """Compare numbers as precisely as dcmdump writes them."""
    pairs = zip(map(float, texts), map(float, values), strict=False)
    return len(texts) == len(values) and all(
        a == b or (isnan(a) and isnan(b)) or isclose(a, b, rel_tol=1e-6) for a, b in pairs
    )


def _joined(values: list[Any]) -> str:
    return "\\".join(
        "=".join(value.get(group, "") for group in _GROUPS)
        if isinstance(value, dict)
        else (value or "")
        for value in values
    )


def _texts(text: str, vr: str) -> list[str]:
    parts = [text] if vr in ("LT", "ST", "UT", "UR") else text.split("\\")
    padding = " \0=" if vr == "PN" else " \0"
    return [part.rstrip(padding).lstrip(" \0") for part in parts]


def _bytes_of(mine: Json, data: bytes, order: str) -> str | None:
    """Return the hexadecimal digits of a binary value; None for other kinds of numbers."""
    value = referenced(mine["BulkDataURI"], data)
    if mine["vr"] in ("OB", "UN"):
        return value.hex()
    if mine["vr"] != "OW":
        return None
    words = (value[at : at + 2] for at in range(0, len(value), 2))
    return "".join((word if order == ">" else word[::-1]).hex() for word in words)
