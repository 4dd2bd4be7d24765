"""VRs by tag, for elements without one (PS3.6; private ones as far as they are known)."""

from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, private_dictionary_VR

# tag: VR, where the dictionary leaves a choice in its words ("US or SS", "OB or OW", …).
STANDARD_VR: dict[int, str] = {
    tag: str(entry[0]) for tag, entry in DicomDictionary.items() if tag >> 16 != 0xFFFE
}


@lru_cache(maxsize=4096)
def other_vr(tag: int) -> str:
    """Return the VR of a standard tag that `STANDARD_VR` lacks, "UN" if nobody knows it.

    That is a repeating group such as (60xx,3000), or a group length (gggg,0000), PS3.5 7.2.
    """
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return "UL" if tag & 0xFFFF == 0 else "UN"


@lru_cache(maxsize=4096)
def private_vr(tag: int, creator: str) -> str:
    """Return the VR of a private data element (PS3.5 7.8.1), "UN" if nobody knows it.

    Args:
        tag: a tag of an odd group.
        creator: the value of its private creator element, empty if it is missing.
    """
    if 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"
    if not creator or not tag & 0xFF00:
        return "UN"
    try:
        return str(private_dictionary_VR(tag, creator))
    except KeyError:
        return "UN"
