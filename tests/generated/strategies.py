"""Hypothesis strategies of files: legal ones of all kinds, and illegal ones made of them."""

from functools import cache
from typing import Any

from hypothesis import strategies as st

from tests.generated import encoders
from tests.generated.case import ENCAPSULATED, NATIVE, Capsule, Case, Fault, Icon
from tests.generated.display import Display, Gray, Lut, Palette
from tests.generated.elements import Style
from tests.generated.image import FILLS, Image, Overlay

_among = cache(st.sampled_from)  # making one costs more than drawing from it
_upto = cache(st.integers)
SIDES = st.integers(1, 24)
SEEDS = st.integers(0, 2**16)
_BOOLEANS = st.booleans()
# How writers spell one number of frames, and decimal strings (PS3.5 6.2).
_FRAMES_TEXTS = ("{}", "+{}", "0{}", " {}", "{} ")
_NUMBERS = ("1", "2", "-1", "3.0", "+2", " 1", "1e0", "-2.0E+0", "0001")
_FRACTIONS = ("0.5", "1.25", "-0.125", "4E-2", "1e3")
_INTERCEPTS = ("0", "-1024", "+7", "-0", "1e2", " 5", "-32768")
# What an image cannot be read without, and what pictures depend on.
_FAULT_TAGS = (
    *(0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011),
    *(0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280120),
    *(0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281056),
    *(0x00281101, 0x00281102, 0x00281201, 0x00281202, 0x00281221, 0x00283000),
    *(0x00283002, 0x00283006, 0x00283010, 0x00289132, 0x00289145, 0x52009229, 0x52009230),
    *(0x60000010, 0x60000100, 0x60000102, 0x60003000, 0x00880200, 0x7FE00001, 0x7FE00010),
)
_FAULTS = ("missing", "empty", "zero", "ones", "text", "short", "long")


@st.composite
def images(draw: Any, small: bool = False) -> Image:
    """Draw an Image Pixel Module that PS3.3 and PS3.5 allow."""
    kind = draw(_among(("gray", "gray", "gray", "palette", "color", "color", "float")))
    if kind == "float":
        allocated = draw(_among((32, 64)))
    elif kind == "palette":
        allocated = draw(_among((8, 16)))
    else:
        allocated = draw(_among((8, 16, 8, 16, 8, 16, 32, 1 if kind == "gray" else 8)))
    stored_bits = draw(_upto(1, allocated)) if draw(_BOOLEANS) else allocated
    if kind == "float":
        stored_bits = allocated
    high_bit = stored_bits - 1
    if kind == "gray" and draw(_upto(0, 5)) == 0:
        high_bit = draw(_upto(high_bit, allocated - 1))
    columns, planar, photometric, samples = draw(SIDES), 0, "MONOCHROME2", 1
    if kind in ("gray", "float"):
        photometric = draw(_among(("MONOCHROME2", "MONOCHROME2", "MONOCHROME1")))
    elif kind == "palette":
        photometric = "PALETTE COLOR"
    else:
        photometric = draw(_among(("RGB", "RGB", "YBR_FULL", "YBR_FULL_422", "CMYK")))
        samples, planar = 4 if photometric == "CMYK" else 3, draw(_upto(0, 1))
        if photometric == "YBR_FULL_422":
            columns, planar = columns + columns % 2, 0
    frames = draw(_among((1, 1, 1, 2, 3, 5)))
    free = [bit for bit in range(allocated) if not high_bit - stored_bits < bit <= high_bit]
    overlays = []
    if kind == "gray" and not small and draw(_upto(0, 4)) == 0:
        bit = draw(_among((None, *free)))
        overlays.append(Overlay(0x6000, bit))
    texts = (None, *_FRAMES_TEXTS) if frames == 1 else _FRAMES_TEXTS
    spelled = draw(_among(texts))
    return Image(
        rows=draw(SIDES),
        columns=columns,
        frames=1 if small else frames,
        samples=samples,
        photometric=photometric,
        planar=planar,
        allocated=allocated,
        stored=stored_bits,
        high_bit=high_bit,
        signed=kind in ("gray", "palette") and allocated > 1 and draw(_BOOLEANS),
        is_float=kind == "float",
        fill=draw(_among(FILLS)),
        seed=draw(SEEDS),
        junk=kind == "gray" and bool(free) and draw(_upto(0, 3)) == 0,
        overlays=tuple(overlays),
        frames_text=None if small or spelled is None else spelled.format(frames),
        wide=draw(_BOOLEANS),
        # Behind pairs, a surplus may be as long as if there were none.
        surplus=0 if photometric == "YBR_FULL_422" else draw(_among((0, 0, 0, 1))),
    )


_ICONS = images(small=True).filter(lambda each: each.allocated == 8 and each.stored == 8)
_ANY_FAULT = st.one_of(
    st.builds(Fault, st.sampled_from(_FAULT_TAGS), st.sampled_from(_FAULTS), st.integers(0, 999)),
    st.builds(Fault, st.just(0), st.sampled_from(("cut", "flip")), st.integers(0, 999)),
)


@st.composite
def luts(draw: Any, signed: bool) -> Lut:
    """Draw a Modality or VOI LUT."""
    packed = draw(_BOOLEANS)
    return Lut(
        entries=draw(_among((1, 2, 3, 16, 255, 256, 4096, 65536))),
        first=draw(_among((0, 1, 100, 4095, *((-1, -1024, -32768) if signed else ())))),
        bits=8 if packed else draw(_upto(8, 16)),
        packed=packed,
        vr=draw(_among(("OW", "US"))),
        seed=draw(SEEDS),
    )


@cache
def _windows(widths: tuple[str, ...]) -> Any:
    center = _among(("0", "128", "-100", "40.5", "2048", "1e2"))
    return st.lists(st.tuples(center, _among(widths)), min_size=1, max_size=3)


@st.composite
def grays(draw: Any, signed: bool, nested: bool) -> Gray:
    """Draw what turns stored values into displayed ones."""
    way = draw(_among(("none", "rescale", "rescale", "none" if nested else "lut")))
    voi = draw(_among(("none", "window", "window", "none" if nested else "lut")))
    whole = voi == "lut"
    slope = draw(_among(_NUMBERS if whole else _NUMBERS + _FRACTIONS))
    intercept = draw(_among(_INTERCEPTS if whole else _INTERCEPTS + _FRACTIONS))
    function = draw(_among(("", "LINEAR", "LINEAR_EXACT", "SIGMOID")))
    widths = ("1", "2", "256", "4096", "1.5", " 80 ") + (
        ("0.5",) if function in ("LINEAR_EXACT", "SIGMOID") else ()
    )
    windows = _windows(widths)
    may_be_negative = way == "none" and signed
    return Gray(
        slope=slope if way == "rescale" else None,
        intercept=intercept if way == "rescale" else None,
        modality_lut=draw(luts(signed)) if way == "lut" else None,
        windows=tuple(draw(windows)) if voi == "window" else (),
        function=function,
        voi_lut=draw(luts(may_be_negative)) if voi == "lut" else None,
    )


@st.composite
def palettes(draw: Any, signed: bool) -> Palette:
    """Draw the tables of colors."""
    bits = draw(_among((8, 16)))
    segmented = draw(_BOOLEANS)
    return Palette(
        entries=draw(_among((1, 2, 17, 256, 4096, 65536))),
        first=draw(_among((0, 1, 200, -1, -128) if signed else (0, 1, 200))),
        bits=bits,
        packed=bits == 8 and (segmented or draw(_BOOLEANS)),
        segmented=segmented,
        seed=draw(SEEDS),
    )


@st.composite
def displays(draw: Any, image: Image) -> Display:
    """Draw what turns an image into pictures."""
    if image.photometric == "PALETTE COLOR":
        return Display(palette=draw(palettes(image.signed)))
    if not image.is_gray:
        return Display()
    place = draw(_among(("top", "top", "shared", "frames")))
    count = image.frames if place == "frames" else 1
    nested = place != "top"
    found = tuple(draw(grays(image.signed, nested)) for _ in range(count))
    padding: tuple[int, ...] = ()
    if image.allocated <= 16 and not image.is_float and draw(_upto(0, 3)) == 0:
        low, high = image.bounds
        padding = tuple(draw(st.lists(st.integers(low, high), min_size=1, max_size=2)))
    supplemental = draw(palettes(image.signed)) if draw(_upto(0, 9)) == 0 else None
    return Display(found, place, None, padding, supplemental)


@st.composite
def cases(draw: Any, legal: bool = True) -> Case:
    """Draw a file; one that is not legal has a fault."""
    image = draw(images())
    possible = [end for end in ENCAPSULATED if encoders.fits(image, end)]
    end = draw(_among((*NATIVE, *possible)))
    icon = None
    if draw(_upto(0, 4)) == 0:
        icon = Icon(
            draw(_ICONS),
            depth=draw(_upto(0, 2)),
            compressed=draw(_BOOLEANS),
        )
    fault = None
    if not legal:
        fault = draw(_ANY_FAULT)
    return Case(
        image=image,
        end=end,
        display=draw(displays(image)),
        style=Style(
            undefined_sequences=draw(_BOOLEANS),
            undefined_items=draw(_BOOLEANS),
            group_lengths=draw(_BOOLEANS),
            unknown_vrs=draw(_upto(0, 3)) == 0,
            padding=draw(_among((0, 0, 0, 126))),
        ),
        capsule=Capsule(
            cuts=draw(_among((1, 1, 2, 3))),
            table=draw(_among(("none", "basic", "extended", "shifted"))),
            delimiter=draw(_upto(0, 7)) > 0,
        ),
        icon=icon,
        fault=fault,
    )
