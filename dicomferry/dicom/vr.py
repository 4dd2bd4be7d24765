"""Value representations, as elements have or lack them (PS3.5 6.2, 7.1)."""

from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from dicomferry.dicom.dictionary import STANDARD_VR, other_vr, private_vr
from dicomferry.dicom.encoding import UNDEFINED_LENGTH

SHORT_FORM = {  # explicit VRs with a length of 16 bits (PS3.5 Table 7.1-2)
    str(vr).encode(): str(vr) for vr in EXPLICIT_VR_LENGTH_16
}
LONG_FORM = {  # explicit VRs with 2 reserved bytes and a length of 32 bits (PS3.5 Table 7.1-1)
    str(vr).encode(): str(vr) for vr in EXPLICIT_VR_LENGTH_32
}
KNOWN_VRS = frozenset(SHORT_FORM) | frozenset(LONG_FORM)
BY_REFERENCE = frozenset(
    {"OB", "OD", "OF", "OL", "OV", "OW", "UN", "OB or OW", "US or OW", "US or SS or OW", "OB_OW"}
)
# How an Item (FFFE,E000) starts: byte order.
ITEM_ORDER = {b"\xfe\xff\x00\xe0": "<", b"\xff\xfe\xe0\x00": ">"}


def looks_like_vr(code: bytes) -> bool:
    """Tell whether two bytes could be a VR, known or not: two capital letters."""
    return len(code) == 2 and b"A" <= code[:1] <= b"Z" and b"A" <= code[1:] <= b"Z"


def resolve_vr(tag: int, vr: str | None, length: int, creator: str, head: bytes) -> str:
    """Return the VR of an element that has none in the file, or UN.

    Args:
        tag: the tag.
        vr: None or "UN".
        length: the length of the value.
        creator: the private creator of the tag.
        head: the first four bytes of the value.
    """
    if vr == "UN" and length == UNDEFINED_LENGTH:
        return "SQ"  # PS3.5 6.2.2
    is_item = head in ITEM_ORDER
    if tag & 0x10000:
        known = private_vr(tag, creator)
    elif vr == "UN" and length >= 0xFFFF:
        return "UN"  # the length may be why a known tag has this VR
    else:
        known = STANDARD_VR.get(tag) or other_vr(tag)
        if known != "UN" and vr is None:
            return known
    if length == UNDEFINED_LENGTH and is_item:
        return "SQ"
    if known == "SQ" and length and not is_item:
        return "UN"
    return known
