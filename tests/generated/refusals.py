"""Which legal images a form may refuse, and with which code, as the documents say."""

from dicomferry.pixels.formats import Format
from tests.generated.case import NATIVE, PREFIX, Case


def allowed(case: Case, form: Format) -> set[str]:
    """Return the codes with which a legal file may fail to become `form`; empty: it must not."""
    image = case.image
    if form.media_type.startswith("image/"):
        renderable = image.is_gray or image.photometric == "PALETTE COLOR" or image.samples == 3
        odd = (image.is_float and not image.is_gray) or (
            image.photometric == "PALETTE COLOR" and image.allocated not in (8, 16)
        )
        return {"NOT_RENDERABLE"} if odd or not renderable else set()
    end = form.transfer_syntax.removeprefix(PREFIX)
    if form.media_type == "application/octet-stream" or end in (*NATIVE, "*"):
        return set()
    return _encapsulated(case, end)


def _encapsulated(case: Case, end: str) -> set[str]:
    image = case.image
    if end == ".8.1":
        return {"UNFIT_FOR_COMPRESSION"} if image.is_float else set()
    if end == ".5":
        unfit = image.is_float or image.allocated in (1, 64) or image.samples == 4
        return {"UNFIT_FOR_RLE"} if unfit else set()
    if end == ".4.111":
        if case.end == ".4.50":
            return set()
        return {"NOT_JPEG_BASELINE"}
    if end == ".4.50" and case.end == ".4.111":
        return set()
    return _unfit(case, end)


def _unfit(case: Case, end: str) -> set[str]:
    image, found = case.image, set()
    lossy_dct = end in (".4.50", ".4.51")
    if image.is_float or image.allocated not in (8, 16):
        found.add("UNFIT_FOR_COMPRESSION")
    if image.samples not in (1, 3):
        found.add("COLOUR_UNFIT")
    lossy = lossy_dct or end in (".4.81", ".4.91", ".4.203", ".4.112")
    if lossy and image.photometric == "PALETTE COLOR":
        found.add("PALETTE_NOT_LOSSY")
    if image.signed and (lossy_dct or end == ".4.112"):
        found.add("SIGNED_NOT_LOSSY")
    if end == ".4.50" and image.stored > 8:
        found.add("TOO_DEEP_FOR_BASELINE")
    if end == ".4.51" and image.stored > 12:
        found.add("TOO_DEEP_FOR_EXTENDED")
    if lossy_dct and image.samples == 3 and image.stored > 8:
        found.add("COLOUR_UNFIT")
    if end == ".4.110" and image.samples == 3 and case.color != "RGB":
        found.add("COLOUR_UNFIT_FOR_JPEG_XL")
    return found
