"""Text in the character sets that (0008,0005) Specific Character Set names (PS3.3 C.12.1.1.2)."""

import re
from functools import lru_cache

DEFAULT_CODECS = ("latin-1",)  # a superset of the default repertoire, ISO-IR 6

# ISO registration number: Python codec, and the escape sequence that invokes the set (PS3.3 Tables
# C.12-2 to C.12-4). Each codec has ASCII, or what is read as such, in its lower half.
_REGISTERED = {
    6: ("latin-1", b"\x1b(B"),
    13: ("shift_jis", b"\x1b)I"),
    58: ("gb2312", b"\x1b$)A"),
    87: ("iso2022_jp", b"\x1b$B"),
    100: ("latin-1", b"\x1b-A"),
    101: ("iso8859_2", b"\x1b-B"),
    109: ("iso8859_3", b"\x1b-C"),
    110: ("iso8859_4", b"\x1b-D"),
    126: ("iso8859_7", b"\x1b-F"),
    127: ("iso8859_6", b"\x1b-G"),
    138: ("iso8859_8", b"\x1b-H"),
    144: ("iso8859_5", b"\x1b-L"),
    148: ("iso8859_9", b"\x1b-M"),
    149: ("euc_kr", b"\x1b$)C"),
    159: ("iso2022_jp_2", b"\x1b$(D"),
    166: ("tis_620", b"\x1b-T"),
    192: ("utf-8", b""),
    203: ("iso8859_15", b"\x1b-b"),
}
_STAND_ALONE = frozenset({"utf-8", "gb18030", "gbk"})
_NAMED = {
    "": "latin-1",
    "GB18030": "gb18030",
    "GBK": "gbk",
    "ISO 2022 GBK": "gbk",
    "ISO 2022 58": "gb2312",
    # Names that DICOM does not define but that are unambiguous. Other codecs of Python are not
    # taken: some are not for text.
    "GB2312": "gb2312",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "LATIN1": "latin-1",
    "LATIN-1": "latin-1",
    "ASCII": "latin-1",
    "US-ASCII": "latin-1",
}
# Of "ISO_IR 100" and "ISO 2022 IR 100" the number counts, whatever stands between the words.
_TERM = re.compile(r"(?:ISO)?[ _-]*(?:2022[ _-]*)?IR[ _-]*([0-9]{1,3})")
_ISO_8859 = re.compile(r"ISO[ _-]*8859[ _-]*([1-9]|15)")

_SETS = {escape: codec for codec, escape in _REGISTERED.values() if escape}
# Of Japanese text ISO-IR 14 is the lower half, which is ASCII but for two characters.
_ROMAJI = b"\x1b(J"
_JAPANESE = frozenset({"shift_jis", "iso2022_jp", "iso2022_jp_2"})
_KANJI = frozenset({b"\x1b$B", b"\x1b$(D"})  # two bytes a character, in the lower half
_FRAGMENTS = re.compile(rb"(\x1b(?:\$[()]?|[()-])[@-~])?(\x1b?[^\x1b]*)")
_HALVES = re.compile(rb"[\0-\x7f]+|[\x80-\xff]+")

# Before these the first character set is invoked again (PS3.5 6.1.2.5.3).
CONTROLS = re.compile(rb"(?=[\0-\x1a\x1c-\x1f])")
CONTROLS_AND_VALUES = re.compile(rb"(?=[\0-\x1a\x1c-\x1f\\])")
CONTROLS_AND_NAMES = re.compile(rb"(?=[\0-\x1a\x1c-\x1f\\^=])")


def _codec(term: str) -> str:
    """Return the Python codec of a term, also of a misspelt one that can mean one set only."""
    term = term.strip(" \0").upper()
    if match := _TERM.fullmatch(term):
        return _REGISTERED.get(int(match[1]), _REGISTERED[6])[0]
    if match := _ISO_8859.fullmatch(term):
        return "latin-1" if match[1] == "1" else f"iso8859_{match[1]}"
    return _NAMED.get(term, "latin-1")


@lru_cache(maxsize=256)
def codecs_of(value: bytes) -> tuple[str, ...]:
    """Return the Python codecs for a value of (0008,0005), the default one if it is empty."""
    first, *others = (_codec(term) for term in value.decode("latin-1").split("\\"))
    if first in _STAND_ALONE:
        return (first,)
    return (first, *(codec for codec in others if codec not in _STAND_ALONE))


def decode_text(value: bytes, codecs: tuple[str, ...], resets: re.Pattern[bytes] = CONTROLS) -> str:
    """Decode a text, switching the character set where it says so (PS3.5 6.1.2.5).

    Bytes that the character set lacks become U+FFFD: the file itself stays as it is. An escape
    sequence to a set that (0008,0005) does not name is none, and stays in the text.

    Args:
        value: the encoded text.
        codecs: as `codecs_of` gives them.
        resets: matches before what invokes the first character set again.
    """
    first = codecs[0]
    if b"\x1b" not in value:
        try:
            return value.decode(first)
        except UnicodeError:
            return value.decode(first, "replace")
    text = []
    for escape, fragment in _FRAGMENTS.findall(value):
        codec = _codec_after(escape, codecs)
        try:
            if escape in _KANJI and codec:
                halves = _HALVES.findall(fragment)
                text += [_decode_half(half, escape, codec, first) for half in halves]
            elif codec:
                before, *after = resets.split(fragment, maxsplit=1)
                text.append(before.decode(codec) + b"".join(after).decode(first))
            else:
                text.append((escape + fragment).decode(first))
        except UnicodeError:
            text.append((escape + fragment).decode(first, "replace"))
    return "".join(text)


def _codec_after(escape: bytes, codecs: tuple[str, ...]) -> str:
    """Return the codec that an escape sequence switches to, "" if it is none of (0008,0005)."""
    if escape == _ROMAJI:
        return "shift_jis" if _JAPANESE.intersection(codecs) else ""
    codec = _SETS.get(escape, "")
    return codec if codec in codecs or escape == _REGISTERED[6][1] else ""


def _decode_half(half: bytes, escape: bytes, codec: str, first: str) -> str:
    """Decode one half of the code table beside kanji: the first set keeps the upper half."""
    return (escape + half).decode(codec) if half.isascii() else half.decode(first)
