"""The transfer syntaxes that are read or written (PS3.5, Section 10 and Annex A)."""

from typing import NamedTuple

from pydicom._uid_dict import UID_dictionary

from dicomferry.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    DataSetEncoding,
)

# Younger than the dictionary of pydicom: without an entry pydicom takes the UID for no transfer
# syntax at all and refuses to read the data set. This is the one place that adds them.
_MISSING_IN_PYDICOM = {
    "1.2.840.10008.1.2.4.110": ("JPEG XL Lossless", "JPEGXLLossless"),
    "1.2.840.10008.1.2.4.111": ("JPEG XL JPEG Recompression", "JPEGXLJPEGRecompression"),
    "1.2.840.10008.1.2.4.112": ("JPEG XL", "JPEGXL"),
    "1.2.840.10008.1.2.8.1": ("Deflated Image Frame Compression", "DeflatedImageFrameCompression"),
}
for _uid, (_name, _keyword) in _MISSING_IN_PYDICOM.items():
    UID_dictionary.setdefault(_uid, (_name, "Transfer Syntax", "", "", _keyword))

IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_SPECTRAL = "1.2.840.10008.1.2.4.53"
JPEG_PROGRESSION = "1.2.840.10008.1.2.4.55"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG_2000 = "1.2.840.10008.1.2.4.91"
JPEG_XL_LOSSLESS = "1.2.840.10008.1.2.4.110"
JPEG_XL_RECOMPRESSION = "1.2.840.10008.1.2.4.111"
JPEG_XL = "1.2.840.10008.1.2.4.112"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"


class TransferSyntax(NamedTuple):
    """How a data set and its pixels are written.

    Attributes:
        uid: Transfer Syntax UID.
        name: the Standard's name, shortened.
        explicit: the data set carries VRs.
        little_endian: byte order of the data set.
        deflated: the data set as a whole is deflated.
        family: the module of this package that decodes and encodes the frames, '' for native.
        lossy: asking for it is asking for loss.
        written: an export can write it.
    """

    uid: str
    name: str
    explicit: bool = True
    little_endian: bool = True
    deflated: bool = False
    family: str = ""
    lossy: bool = False
    written: bool = True

    @property
    def encoding(self) -> DataSetEncoding:
        """How the data set is encoded, whatever its pixels are."""
        if not self.explicit:
            return IMPLICIT_LITTLE
        return EXPLICIT_LITTLE if self.little_endian else EXPLICIT_BIG

    @property
    def encapsulated(self) -> bool:
        """Whether the pixels are encapsulated frames (PS3.5, Annex A.4)."""
        return bool(self.family)


SYNTAXES = {
    syntax.uid: syntax
    for syntax in (
        TransferSyntax(IMPLICIT_VR_LITTLE_ENDIAN, "Implicit VR Little Endian", explicit=False),
        TransferSyntax(EXPLICIT_VR_LITTLE_ENDIAN, "Explicit VR Little Endian"),
        TransferSyntax(
            DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
            "Deflated Explicit VR Little Endian",
            deflated=True,
        ),
        TransferSyntax(
            EXPLICIT_VR_BIG_ENDIAN, "Explicit VR Big Endian", little_endian=False, written=False
        ),
        TransferSyntax(JPEG_BASELINE, "JPEG Baseline", family="jpeg", lossy=True),
        TransferSyntax(JPEG_EXTENDED, "JPEG Extended, 12 bit", family="jpeg", lossy=True),
        TransferSyntax(
            JPEG_SPECTRAL, "JPEG Spectral Selection", family="jpeg", lossy=True, written=False
        ),
        TransferSyntax(
            JPEG_PROGRESSION, "JPEG Full Progression", family="jpeg", lossy=True, written=False
        ),
        TransferSyntax(JPEG_LOSSLESS, "JPEG Lossless, Process 14", family="jpeg"),
        TransferSyntax(JPEG_LOSSLESS_SV1, "JPEG Lossless, First-Order Prediction", family="jpeg"),
        TransferSyntax(JPEG_LS_LOSSLESS, "JPEG-LS Lossless", family="jpegls"),
        TransferSyntax(JPEG_LS_NEAR_LOSSLESS, "JPEG-LS Near-Lossless", family="jpegls", lossy=True),
        TransferSyntax(JPEG_2000_LOSSLESS, "JPEG 2000 Lossless", family="jpeg2000"),
        TransferSyntax(JPEG_2000, "JPEG 2000", family="jpeg2000", lossy=True),
        TransferSyntax(JPEG_XL_LOSSLESS, "JPEG XL Lossless", family="jpegxl"),
        TransferSyntax(JPEG_XL_RECOMPRESSION, "JPEG XL JPEG Recompression", family="jpegxl"),
        TransferSyntax(JPEG_XL, "JPEG XL", family="jpegxl", lossy=True),
        TransferSyntax(HTJ2K_LOSSLESS, "High-Throughput JPEG 2000 Lossless", family="htj2k"),
        TransferSyntax(
            HTJ2K_LOSSLESS_RPCL, "High-Throughput JPEG 2000 Lossless RPCL", family="htj2k"
        ),
        TransferSyntax(HTJ2K, "High-Throughput JPEG 2000", family="htj2k", lossy=True),
        TransferSyntax(RLE_LOSSLESS, "RLE Lossless", family="rle"),
        TransferSyntax(DEFLATED_IMAGE_FRAME, "Deflated Image Frame", family="deflate"),
    )
}


def is_encapsulated(uid: str) -> bool:
    """Whether a transfer syntax has encapsulated frames; one that is not known may have."""
    syntax = SYNTAXES.get(uid)
    return syntax is None or syntax.encapsulated
