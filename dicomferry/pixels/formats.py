"""The formats of an export: MIME types and transfer syntaxes.

The registry behind `dicomferry formats`, the flag's check and the README's table. The forms are
those of ExportDicomData's mimeType in the API reference, and the transfer syntaxes that the
service has added since.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from dicomferry.dicom.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LS_LOSSLESS,
    SYNTAXES,
)

DICOM = "application/dicom"
OCTET_STREAM = "application/octet-stream"
JPEG = "image/jpeg"
PNG = "image/png"


class Format(NamedTuple):
    """One format that an export can write.

    Attributes:
        media_type: type/subtype.
        transfer_syntax: a UID, '*' for as uploaded, '' where the type has no parameter.
        extension: of the file, with its dot.
        per_frame: a multi-frame instance becomes one file a frame.
    """

    media_type: str
    transfer_syntax: str
    extension: str
    per_frame: bool

    @property
    def mime_type(self) -> str:
        """The canonical spelling, which `parse_format` takes back."""
        if not self.transfer_syntax:
            return self.media_type
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"


class UnsupportedFormat(ValueError):  # noqa: N818 (the field's words)
    """The form cannot be exported; the message says which can."""


class SourceRow(NamedTuple):
    """The formats that one stored transfer syntax can be exported as.

    Attributes:
        transfer_syntax: UID.
        name: the Standard's.
        decoder: the library that reads its frames.
        targets: the formats, in words.
    """

    transfer_syntax: str
    name: str
    decoder: str
    targets: str


AS_UPLOADED = Format(DICOM, "*", ".dcm", False)

FORMATS: tuple[Format, ...] = (
    AS_UPLOADED,
    *(Format(DICOM, uid, ".dcm", False) for uid, syntax in SYNTAXES.items() if syntax.written),
    Format(OCTET_STREAM, "*", "", True),
    Format(OCTET_STREAM, EXPLICIT_VR_LITTLE_ENDIAN, "", True),
    Format(JPEG, JPEG_BASELINE, ".jpg", True),
    Format(PNG, "", ".png", True),
)
_BY_NAME = {(each.media_type, each.transfer_syntax): each for each in FORMATS}
# The reference refers to DICOMweb ("consistent with supported formats in DICOMweb"), where a type
# without a transfer syntax means Explicit VR Little Endian (PS3.18 8.7.3 and 8.7.3.3). There, the
# default of image/jpeg is JPEG Lossless; here, it is the only syntax that the type has.
_DEFAULTS = {
    DICOM: EXPLICIT_VR_LITTLE_ENDIAN,
    OCTET_STREAM: EXPLICIT_VR_LITTLE_ENDIAN,
    JPEG: JPEG_BASELINE,
}

# Of flags, beside MIME types.
SHORT_NAMES: dict[str, Format] = {
    "dicom": AS_UPLOADED,
    "j2k": _BY_NAME[DICOM, JPEG_2000_LOSSLESS],
    "jpegls": _BY_NAME[DICOM, JPEG_LS_LOSSLESS],
    "htj2k": _BY_NAME[DICOM, HTJ2K_LOSSLESS],
    "png": _BY_NAME[PNG, ""],
    "jpeg": _BY_NAME[JPEG, JPEG_BASELINE],
}

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TYPE = re.compile(rf"\s*({_TOKEN}/{_TOKEN})\s*")
_PARAMETER = re.compile(rf';\s*(?:({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*)?')


def parse_format(mime_type: str | None) -> Format:
    """Read a MIME type as RFC 2045 allows: any case, spaces, quoted values.

    Args:
        mime_type: `application/dicom; transfer-syntax=UID` and so on; the parameter may be
            spelled transfer-syntax or transferSyntax, and left out for the type's default.
            None or '' asks for files as uploaded.

    Raises:
        UnsupportedFormat: not one of `FORMATS`; the message lists them.
    """
    if mime_type is None or not mime_type.strip():
        return AS_UPLOADED
    match = _TYPE.match(mime_type)
    if not match:
        raise _unsupported(mime_type, "it is not a MIME type")
    media_type, position = match[1].lower(), match.end()
    syntaxes = []
    while position < len(mime_type):
        match = _PARAMETER.match(mime_type, position)
        if not match:
            raise _unsupported(mime_type, "its parameters cannot be read")
        position = match.end()
        name, quoted, token = match.groups()
        if name is None:  # an empty parameter, as after a trailing semicolon
            continue
        if name.lower() not in ("transfer-syntax", "transfersyntax"):
            raise _unsupported(mime_type, "it has a parameter other than transfer-syntax")
        syntaxes.append(token if quoted is None else re.sub(r"\\(.)", r"\1", quoted).strip())
    if len(syntaxes) > 1:
        raise _unsupported(mime_type, "it has more than one transfer-syntax")
    syntax = syntaxes[0] if syntaxes else _DEFAULTS.get(media_type, "")
    found = _BY_NAME.get((media_type, syntax))
    if found is None:
        raise _unsupported(mime_type, "it is none of these")
    return found


def parse_form(text: str) -> Format:
    """Read the form of a flag: a short name, or a MIME type.

    Of MIME types, application/dicom alone asks for files as uploaded, unlike that of the API.

    Raises:
        UnsupportedFormat: it is neither; the message lists the short names.
    """
    name = text.strip().lower()
    if name in SHORT_NAMES:
        return SHORT_NAMES[name]
    if name.rstrip("; ") == DICOM:
        return AS_UPLOADED
    try:
        return parse_format(text)
    except UnsupportedFormat:
        names = ", ".join(SHORT_NAMES)
        raise UnsupportedFormat(
            f"{text!r} cannot be exported: use one of {names}, or a MIME type such as image/png "
            "or 'application/dicom; transfer-syntax=1.2.840.10008.1.2.1'; `dicomferry formats` "
            "lists all"
        ) from None


def source_rows() -> Iterator[SourceRow]:
    """Yield what each transfer syntax that a store may hold can be exported as."""
    from dicomferry.pixels.codecs.registry import codec

    for syntax in SYNTAXES.values():
        decoder = codec(syntax.uid).decoder if syntax.encapsulated else "numpy"
        yield SourceRow(syntax.uid, syntax.name, decoder, "every format that fits its pixels")
    yield SourceRow("any other", "MPEG, JPIP, private …", "none", "as uploaded (transfer-syntax=*)")


def _unsupported(mime_type: str, why: str) -> UnsupportedFormat:
    supported = "\n".join(f"  {each.mime_type}" for each in FORMATS)
    short = "\n".join(
        f"  {media_type}, short for transfer-syntax={uid}" for media_type, uid in _DEFAULTS.items()
    )
    return UnsupportedFormat(
        f"MIME type {mime_type!r} cannot be exported: {why}. Supported are:\n{supported}\n"
        f"{short}\nor none at all, for files as uploaded."
    )
