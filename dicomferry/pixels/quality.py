"""How much loss a lossy transfer syntax or image type may add, with the defaults."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from dicomferry.dicom.transfer_syntaxes import SYNTAXES

_BY_FAMILY = {
    "jpeg": "jpeg_quality",
    "jpeg2000": "j2k_ratio",
    "htj2k": "j2k_ratio",
    "jpegls": "jpegls_near",
    "jpegxl": "jxl_distance",
}


class Quality(NamedTuple):
    """Settings of the lossy encoders. Lossless syntaxes take none of them.

    Attributes:
        jpeg_quality: 1 to 100, libjpeg's scale; 4.50, 4.51 and image/jpeg.
        j2k_ratio: stored bits to compressed bits, above 1; 4.91 and 4.203.
        jpegls_near: greatest difference of any sample, 1 to 255; 4.81.
        jxl_distance: Butteraugli distance, above 0 to 25; 1.0 is visually lossless; 4.112. Of gray
            frames it also bounds the error, in proportion: at 1.0 no sample is off by more than
            5 % of the frame's range, and the root mean square is at most 1 %.
    """

    jpeg_quality: int = 90
    j2k_ratio: float = 10.0
    jpegls_near: int = 2
    jxl_distance: float = 1.0

    def validate(self) -> "Quality":
        """Return itself.

        Raises:
            ValueError: a value is out of range; the message names the range.
        """
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"JPEG quality {self.jpeg_quality} is not in 1..100: try 90")
        if not (math.isfinite(self.j2k_ratio) and 1 < self.j2k_ratio <= 1000):
            raise ValueError(
                f"JPEG 2000 ratio {self.j2k_ratio} is not above 1 and at most 1000: try 10,"
                " or ask for a lossless transfer syntax"
            )
        if not 1 <= self.jpegls_near <= 255:
            raise ValueError(
                f"JPEG-LS NEAR {self.jpegls_near} is not in 1..255: try 2,"
                " or ask for 1.2.840.10008.1.2.4.80, which is lossless"
            )
        if not (math.isfinite(self.jxl_distance) and 0 < self.jxl_distance <= 25):
            raise ValueError(
                f"JPEG XL distance {self.jxl_distance} is not above 0 and at most 25: try 1.0,"
                " or ask for 1.2.840.10008.1.2.4.110, which is lossless"
            )
        return self


def refuse_unused(settings: Iterable[str], transfer_syntax: str) -> None:
    """Refuse a setting that the encoder would not look at, also one that has its default.

    Args:
        settings: those that were given: fields of `Quality`.
        transfer_syntax: what is encoded; anything that is no UID takes no setting.

    Raises:
        ValueError: the message names a syntax that takes it.
    """
    used = setting_of(transfer_syntax)
    for name in settings:
        if name != used:
            takers = [uid for uid, each in SYNTAXES.items() if each.written]
            takers = [uid for uid in takers if setting_of(uid) == name]
            raise ValueError(
                f"--{name.replace('_', '-')} has no effect on this format: leave it out, or "
                f"ask for 'application/dicom; transfer-syntax={takers[0]}'"
            )


def setting_of(transfer_syntax: str) -> str:
    """Return the field of `Quality` that a transfer syntax takes; '' for none."""
    syntax = SYNTAXES.get(transfer_syntax)
    return _BY_FAMILY[syntax.family] if syntax and syntax.lossy else ""


DEFAULT_QUALITY = Quality()
