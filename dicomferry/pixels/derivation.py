"""What an image that was compressed with loss says about its origin (PS3.3 C.7.6.1.1, C.12.4.1).

It is a derived image: Value 1 of Image Type says so, and Derivation Description and Derivation Code
Sequence say how it was derived.
"""

import struct
import uuid
from contextlib import suppress

from dicomferry.dicom.dicom_file import DicomFile
from dicomferry.dicom.dictionary import STANDARD_VR
from dicomferry.dicom.encoding import EXPLICIT_LITTLE, DataSetEncoding
from dicomferry.dicom.raw_elements import RawElement, read_items
from dicomferry.dicom.reencode import Changes, encode_element, join, reencode
from dicomferry.dicom.tags import ITEM, SOP_CLASS_UID, SOP_INSTANCE_UID
from dicomferry.errors import InstanceError
from dicomferry.pixels.attributes import Loss
from dicomferry.pixels.codecs.registry import codec
from dicomferry.pixels.quality import Quality

_IMAGE_TYPE = 0x00080008
_FRAME_TYPE = 0x00089007
_FUNCTIONAL_GROUPS = (0x52009229, 0x52009230)  # shared, per frame
_DERIVATION_DESCRIPTION = 0x00082111
_DERIVATION_CODES = 0x00089215
_SMALLEST_AND_LARGEST = (0x00280106, 0x00280107, 0x00280110, 0x00280111)
_MAX_DESCRIPTION = 1024
_SOURCE_IMAGES = 0x00082112
# Of derived UIDs: uuid5(NAMESPACE_DNS, "dicomferry").
_NAMESPACE = uuid.UUID("19c5c8af-aa14-5bea-b3a9-641ccf67f9ca")
_UNCOMPRESSED = ("121320", "Uncompressed predecessor")
_PROCESSED = ("121322", "Source image for image processing operation")
_LOSSY_COMPRESSION = ("113040", "Lossy Compression")


def derived_changes(file: DicomFile, loss: Loss) -> Changes:
    """Return the changes that tell of the derivation; data sets with them are explicit.

    The extremes of the pixels, which loss moves, are removed.
    """
    changes: Changes = dict.fromkeys(
        tag for tag in _SMALLEST_AND_LARGEST if file.value(tag) is not None
    )
    changes[_IMAGE_TYPE] = b"CS", _image_type(file.value(_IMAGE_TYPE))
    changes[_DERIVATION_DESCRIPTION] = b"ST", _description(file, loss)
    changes |= _frame_changes(file)
    codes = _with_code(file)
    if codes is not None:
        changes[_DERIVATION_CODES] = b"SQ", codes
    return changes


def derive_uid(uid: str, transfer_syntax: str, quality: Quality) -> str:
    """Return the SOP Instance UID of what a lossy transfer syntax makes of an instance.

    Made of the instance's UID, the syntax and the one setting that the streams depend on, so the
    same export gives the same UID (PS3.5 B.2).
    """
    setting = codec(transfer_syntax).setting
    name = f"{uid} {transfer_syntax} {setting}={float(getattr(quality, setting))!r}"
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"


def uid_changes(file: DicomFile, derived_uid: str, was_lossy: bool) -> Changes:
    """Return the changes that give the image its own UID, and refer to the source (C.12.4.1.2).

    Raises:
        InstanceError: Source Image Sequence cannot be read.
    """
    purpose = _PROCESSED if was_lossy else _UNCOMPRESSED
    code = encode_element(0x0040A170, b"SQ", code_item(*purpose), explicit=True)
    uids = (file.value(tag) or b"" for tag in (SOP_CLASS_UID, SOP_INSTANCE_UID))
    references = (
        encode_element(tag, b"UI", value, explicit=True)
        for tag, value in zip((0x00081150, 0x00081155), uids, strict=True)
    )
    source = item(b"".join((*references, code)))
    return {
        SOP_INSTANCE_UID: (b"UI", derived_uid.encode() + bytes(len(derived_uid) % 2)),
        _SOURCE_IMAGES: (b"SQ", b"".join((*items_of(file, _SOURCE_IMAGES), source))),
    }


def _image_type(value: bytes | None) -> bytes:
    """Return Image Type with DERIVED as Value 1; Value 2, which has to be there, stays."""
    _, *others = (value or b"").strip(b" \0").split(b"\\")
    return padded(b"\\".join((b"DERIVED", *(others or [b"SECONDARY"]))))


def _frame_changes(file: DicomFile) -> Changes:
    """Return the functional groups with DERIVED as Value 1 of each Frame Type (C.8.16.1.1.1).

    Groups that cannot be read keep their bytes.
    """
    changes: Changes = {}
    for each in file.elements:
        if each.tag in _FUNCTIONAL_GROUPS:
            with suppress(InstanceError):
                if value := _derived_items(file.buffer, each, file.encoding, 1):
                    changes[each.tag] = b"SQ", value
    return changes


def _derived_items(
    buffer: bytes, sequence: RawElement, encoding: DataSetEncoding, depth: int
) -> bytes:
    """Return the items of a sequence in Explicit VR Little Endian; b"" if it has no Frame Type."""
    tag = struct.pack(f"{encoding.order}HH", _FRAME_TYPE >> 16, _FRAME_TYPE & 0xFFFF)
    if buffer.find(tag, sequence.value, sequence.end) < 0:
        return b""
    items = []
    for each in read_items(buffer, sequence, encoding, depth):
        changes: Changes = {}
        for element in each.elements:
            vr = element.vr(buffer, each.encoding) or STANDARD_VR.get(element.tag, "").encode()
            if element.tag == _FRAME_TYPE:
                value = _image_type(buffer[element.value : element.end])
                changes[element.tag] = b"CS", value
            elif vr == b"SQ" and (
                nested := _derived_items(buffer, element, each.encoding, depth + 1)
            ):
                changes[element.tag] = b"SQ", nested
        kept = reencode(buffer, each.elements, each.encoding, EXPLICIT_LITTLE, depth=depth)
        items.append(item(b"".join(data for _, data in join(kept, changes, explicit=True))))
    return b"".join(items)


def _description(file: DicomFile, loss: Loss) -> bytes:
    """Return Derivation Description with this step first, and the earlier ones as they are.

    The new text is ASCII at the start of the value, where every character set has it. What would
    not fit leaves the earlier text alone: nobody's words are cut.
    """
    earlier = (file.value(_DERIVATION_DESCRIPTION) or b"").rstrip(b" \0")
    text = f"Lossy compression {loss.method}, ratio {loss.ratio:.4g}".encode()
    both = text + b" [" + earlier + b"]" if earlier else text
    return padded(both if len(both) <= _MAX_DESCRIPTION else earlier)


def _with_code(file: DicomFile) -> bytes | None:
    """Return Derivation Code Sequence with the code of lossy compression; None if it stays."""
    try:
        items = items_of(file, _DERIVATION_CODES)
    except InstanceError:
        return None  # its bytes are kept as they are
    code = code_item(*_LOSSY_COMPRESSION)
    value = encode_element(0x00080100, b"SH", padded(_LOSSY_COMPRESSION[0].encode()), explicit=True)
    return None if any(value in each for each in items) else b"".join((*items, code))


def items_of(file: DicomFile, sequence: int) -> list[bytes]:
    """Return the items of a sequence in Explicit VR Little Endian; none if it is not there.

    Raises:
        InstanceError: the sequence cannot be read.
    """
    found = [
        reencode(file.buffer, each.elements, each.encoding, EXPLICIT_LITTLE, depth=1)
        for element in file.elements
        if element.tag == sequence
        for each in read_items(file.buffer, element, file.encoding)
    ]
    return [item(b"".join(data for _, data in elements)) for elements in found]


def code_item(value: str, meaning: str) -> bytes:
    """Return an item with a code of the DICOM Controlled Terminology (PS3.16, Annex D)."""
    return item(
        encode_element(0x00080100, b"SH", padded(value.encode()), explicit=True)
        + encode_element(0x00080102, b"SH", b"DCM ", explicit=True)
        + encode_element(0x00080104, b"LO", padded(meaning.encode()), explicit=True)
    )


def item(content: bytes) -> bytes:
    """Return an item of a sequence."""
    tag = (ITEM >> 16).to_bytes(2, "little") + (ITEM & 0xFFFF).to_bytes(2, "little")
    return tag + len(content).to_bytes(4, "little") + content


def padded(value: bytes) -> bytes:
    """Return characters with a space more if their number is odd."""
    return value + b" " * (len(value) % 2)
