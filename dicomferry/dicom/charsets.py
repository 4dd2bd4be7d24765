"""Text in the character sets that (0008,0005) Specific Character Set names (PS3.3 C.12.1.1.2)."""

import re
from functools import lru_cache

from pydicom.charset import (
    CODES_TO_ENCODINGS,
    STAND_ALONE_ENCODINGS,
    handled_encodings,
    python_encoding,
)

DEFAULT_CODECS = ("latin-1",)  # a superset of the default repertoire, ISO-IR 6
# Names that DICOM does not define but that are unambiguous. Other codecs of Python are not taken:
# some are not for text.
_BY_MISTAKE = {"UTF-8": "utf-8", "UTF8": "utf-8", "LATIN1": "latin-1", "ASCII": "latin-1"}
_DELIMITERS = re.compile(rb"[\r\n\t\f]")  # reset the character set (PS3.5 6.1.2.5.3)
_FRAGMENTS = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")


def _codec(term: str) -> str:
    """Return the Python codec of a defined term, also of the common misspellings."""
    if re.match("ISO[^_]IR", term):
        term = "ISO_IR" + term[6:]
    elif re.match("ISO.2022.IR.", term):
        term = "ISO 2022 IR " + term[12:]
    name = python_encoding.get(term) or _BY_MISTAKE.get(term.upper(), "latin-1")
    # These three are by far the most frequent: Python decodes them directly by these names only.
    return {"iso8859": "latin-1", "latin_1": "latin-1", "UTF8": "utf-8"}.get(name, name)


@lru_cache(maxsize=256)
def codecs_of(value: bytes) -> tuple[str, ...]:
    """Return the Python codecs for a value of (0008,0005), the default one if it is empty."""
    terms = value.decode("latin-1").rstrip(" \0").split("\\")
    if terms[0] in STAND_ALONE_ENCODINGS:
        return (_codec(terms[0]),)
    return (
        _codec(terms[0]),
        *(_codec(term) for term in terms[1:] if term not in STAND_ALONE_ENCODINGS),
    )


def decode_text(value: bytes, codecs: tuple[str, ...]) -> str:
    """Decode a text, switching the character set where it says so (PS3.5 6.1.2.5).

    Bytes that the character set lacks become U+FFFD: the file itself stays as it is.
    """
    if b"\x1b" not in value:
        try:
            return value.decode(codecs[0])
        except UnicodeError:
            return value.decode(codecs[0], "replace")
    return "".join(_decode_fragment(part, codecs) for part in _FRAGMENTS.findall(value))


def _decode_fragment(part: bytes, codecs: tuple[str, ...]) -> str:
    """Decode what follows one escape sequence, or comes before the first."""
    first = codecs[0]
    if not part.startswith(b"\x1b"):
        return part.decode(first, "replace")
    width = 4 if part.startswith((b"\x1b$(", b"\x1b$)")) else 3
    name = CODES_TO_ENCODINGS.get(part[:width], "")
    codec = {"iso8859": "latin-1", "latin_1": "latin-1"}.get(name, name)
    if not codec or (codec not in codecs and name != "iso8859"):
        return part.decode(first, "replace")
    text = part[width:]
    delimiter = _DELIMITERS.search(text)
    reset = delimiter.start() if delimiter else len(text)
    try:
        if codec in handled_encodings:
            return part.decode(codec)  # the codec itself knows the escape sequence
        return text[:reset].decode(codec) + text[reset:].decode(first)
    except UnicodeError:
        return part.decode(first, "replace")
