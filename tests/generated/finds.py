"""Files that once became what they should not, or ended more than themselves."""

from tests.generated.case import Case, Fault, Icon
from tests.generated.display import Display, Gray, Lut
from tests.generated.elements import Style
from tests.generated.image import Image, Overlay

_RESCALED = Gray(slope="2", intercept="0.5", windows=(("100", "50"),))
_YBR = Image(rows=5, columns=6, samples=3, photometric="YBR_FULL")
_DEEP_YBR = Image(
    samples=3, photometric="YBR_FULL", allocated=32, stored=32, high_bit=31, fill="extremes"
)
_PAIRS = Image(samples=3, photometric="YBR_FULL_422")
_FEW_BITS = Image(rows=18, columns=21, allocated=16, stored=3, high_bit=2, seed=1251)
_TINY = Image(
    rows=1,
    columns=5,
    samples=3,
    photometric="YBR_FULL",
    allocated=16,
    stored=14,
    high_bit=13,
    fill="extremes",
    seed=218,
)
_NAN = Image(
    rows=8, columns=8, allocated=32, stored=32, high_bit=31, is_float=True, fill="extremes"
)

FINDS = (
    # HTJ2K without a color transform was read one component after the other.
    Case(_YBR, ".4.201"),
    # One pixel of color by plane: CharLS takes no array with the strides of the planes.
    Case(Image(rows=1, columns=1, samples=3, photometric="RGB", planar=1)),
    # Loss made white black in JPEG 2000, and HTJ2K and JPEG lost all of a few bits.
    Case(_FEW_BITS),
    # A signed JPEG XL stream of whole words was read as one of Bits Stored.
    Case(
        Image(
            rows=17,
            columns=24,
            stored=7,
            high_bit=7,
            signed=True,
            fill="extremes",
            overlays=(Overlay(0x6000, 0),),
        ),
        ".4.110",
    ),
    # Functional groups and tables that a gateway wrote as UN were not seen.
    Case(display=Display((_RESCALED,), "shared"), style=Style(unknown_vrs=True)),
    Case(display=Display((Gray(modality_lut=Lut()),)), style=Style(unknown_vrs=True)),
    # White in 32 bits of YBR was black.
    Case(_DEEP_YBR),
    # Few bits of YBR were rounded before they were spread over a byte.
    Case(Image(samples=3, photometric="YBR_FULL", stored=4, high_bit=3)),
    # A compressed icon stayed so within a sequence in a sequence that a gateway wrote as UN.
    Case(
        Image(allocated=16, stored=16, high_bit=15),
        ".4.70",
        style=Style(unknown_vrs=True),
        icon=Icon(Image(rows=6, columns=2), depth=2, compressed=True),
    ),
    # Near-lossless JPEG-LS of a tiny frame left the bits that are stored.
    Case(_TINY),
    # YBR_FULL_422 without three samples raised ValueError.
    Case(_PAIRS, fault=Fault(0x00280002, "missing")),
    # Of NaN no table has an entry.
    Case(_NAN, display=Display((Gray(voi_lut=Lut(entries=16)),))),
    # A table of any depth was asked of numpy.
    Case(display=Display((Gray(voi_lut=Lut()),)), fault=Fault(0x00283002, "ones")),
    # The judge let an infinite sample set the range of a picture, by its entry of the Modality LUT.
    Case(
        Image(
            rows=2, columns=2, allocated=32, stored=32, high_bit=31, is_float=True, fill="extremes"
        ),
        display=Display(grays=(Gray(modality_lut=Lut(entries=255, bits=8, packed=True)),)),
    ),
)
