"""The rows of `bench_export`: files, target formats, numbers of files, and target speeds."""

from typing import NamedTuple

from dicomferry.dicom.transfer_syntaxes import (
    HTJ2K_LOSSLESS,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)

CT, EIGHT_BITS, MULTIFRAME = "ct", "ct8", "multiframe"
SLOW, MEDIUM, FAST = range(3)


class Row(NamedTuple):
    """One export to measure.

    Attributes:
        name: as printed.
        source: the stored files: a kind of `ct_files`, or the transfer syntax that CT is in.
        form: of `plain_export` and `peers`.
        mime_type: of our command.
        speed: how many files a long run needs to take a second or more.
        peer_factor: how much faster than the best peer to be; 0 where there is no target.
        not_counted: peers that are measured and shown, but are no measure.
    """

    name: str
    source: str
    form: str
    mime_type: str
    speed: int
    peer_factor: float = 0
    not_counted: tuple[str, ...] = ()

    @property
    def is_multiframe(self) -> bool:
        """Whether frames of one instance are counted instead of files."""
        return self.source == MULTIFRAME


class Size(NamedTuple):
    """Files, and frames of one file: of the short run, and of the long run of each speed."""

    few: int
    files: tuple[int, int, int]
    few_frames: int
    frames: tuple[int, int, int]

    def counts(self, row: Row) -> tuple[int, int]:
        """Return the number of files or frames of a row's short and long run."""
        if row.is_multiframe:
            return self.few_frames, self.frames[row.speed]
        return self.few, self.files[row.speed]


FULL = Size(200, (500, 1_000, 2_000), 50, (300, 500, 1_500))
QUICK = Size(60, (120, 200, 600), 20, (50, 60, 150))


def _dicom(syntax: str) -> str:
    return f"application/dicom; transfer-syntax={syntax}"


_RAW = "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
_PNG, _JPEG = "image/png", "image/jpeg"
ROWS = [
    Row(".90", CT, JPEG_2000_LOSSLESS, _dicom(JPEG_2000_LOSSLESS), SLOW, 1.5),
    Row(".90 to raw", JPEG_2000_LOSSLESS, "raw", _RAW, SLOW),
    Row(".80", CT, JPEG_LS_LOSSLESS, _dicom(JPEG_LS_LOSSLESS), MEDIUM, 3),
    Row(".70", CT, JPEG_LOSSLESS_SV1, _dicom(JPEG_LOSSLESS_SV1), MEDIUM, 2),
    Row(".70 to raw", JPEG_LOSSLESS_SV1, "raw", _RAW, FAST),
    Row("RLE", CT, RLE_LOSSLESS, _dicom(RLE_LOSSLESS), MEDIUM, 2),
    Row(".201", CT, HTJ2K_LOSSLESS, _dicom(HTJ2K_LOSSLESS), MEDIUM),
    Row(".50, 8 bits", EIGHT_BITS, JPEG_BASELINE, _dicom(JPEG_BASELINE), FAST, 5),
    Row("PNG", CT, "png", _PNG, FAST, 2.5),
    Row("JPEG", CT, "jpeg", _JPEG, FAST, 5),
    # Orthanc only sends files from its storage: like ours, as fast as the disk and the cache.
    # The tool that a user has for a copy that comes out of an archive as a file is dcmconv.
    Row("copy", CT, "copy", "", FAST, 5, ("Orthanc",)),
    Row("frames to .90", MULTIFRAME, JPEG_2000_LOSSLESS, _dicom(JPEG_2000_LOSSLESS), SLOW),
    Row("frames to .80", MULTIFRAME, JPEG_LS_LOSSLESS, _dicom(JPEG_LS_LOSSLESS), MEDIUM),
    Row("frames to .70", MULTIFRAME, JPEG_LOSSLESS_SV1, _dicom(JPEG_LOSSLESS_SV1), MEDIUM),
    Row("frames to RLE", MULTIFRAME, RLE_LOSSLESS, _dicom(RLE_LOSSLESS), MEDIUM),
    Row("frames to .201", MULTIFRAME, HTJ2K_LOSSLESS, _dicom(HTJ2K_LOSSLESS), MEDIUM),
    Row("frames to PNG", MULTIFRAME, "png", _PNG, FAST),
    Row("frames to JPEG", MULTIFRAME, "jpeg", _JPEG, FAST),
]
