"""The tools that people use today: dcmtk and gdcm, one process per file, two at a time."""

import shutil
from pathlib import Path

from benchmarks.measuring import run
from dicomferry.dicom.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    RLE_LOSSLESS,
)
from dicomferry.pixels.quality import DEFAULT_QUALITY

_QUALITY = str(DEFAULT_QUALITY.jpeg_quality)
_PICTURES = "dcmj2pnm", "--use-window", "1", "--all-frames"
# By the transfer syntax of the source, "" for any, and the target format.
_COMMANDS: dict[tuple[str, str], list[list[str]]] = {
    ("", JPEG_2000_LOSSLESS): [["gdcmconv", "--j2k"]],
    (JPEG_2000_LOSSLESS, "raw"): [["gdcmconv", "--raw"]],
    ("", JPEG_LS_LOSSLESS): [["dcmcjpls"], ["gdcmconv", "--jpegls"]],
    ("", JPEG_LOSSLESS_SV1): [["dcmcjpeg", "--encode-lossless-sv1"], ["gdcmconv", "--jpeg"]],
    (JPEG_LOSSLESS_SV1, "raw"): [["dcmdjpeg"], ["gdcmconv", "--raw"]],
    ("", RLE_LOSSLESS): [["dcmcrle"], ["gdcmconv", "--rle"]],
    ("", JPEG_BASELINE): [["dcmcjpeg", "--encode-baseline", "+q", _QUALITY]],
    ("", "png"): [[*_PICTURES, "--write-png"]],
    ("", "jpeg"): [[*_PICTURES, "--write-jpeg", "--compr-quality", _QUALITY]],
    ("", "copy"): [["dcmconv"]],
}
# The format in Orthanc's terms, where it has it.
ORTHANC_FORMS = {
    ("", JPEG_2000_LOSSLESS): JPEG_2000_LOSSLESS,
    (JPEG_2000_LOSSLESS, "raw"): EXPLICIT_VR_LITTLE_ENDIAN,
    ("", JPEG_LS_LOSSLESS): JPEG_LS_LOSSLESS,
    ("", JPEG_LOSSLESS_SV1): JPEG_LOSSLESS_SV1,
    (JPEG_LOSSLESS_SV1, "raw"): EXPLICIT_VR_LITTLE_ENDIAN,
    ("", "png"): "png",
    ("", "jpeg"): "jpeg",
    ("", "copy"): "copy",
}


def tools(syntax: str, form: str) -> list[list[str]]:
    """Return the commands, without their files, that convert files in `syntax` to `form`."""
    return _COMMANDS.get((syntax, form), [])


def is_missing(tool: list[str]) -> bool:
    return shutil.which(tool[0]) is None


def seconds(tool: list[str], files: list[Path], out: Path) -> float:
    """Return the wall time of a tool over files, two processes at a time.

    Raises:
        subprocess.CalledProcessError: it cannot make that of these files.
    """
    out.mkdir(parents=True)
    pairs = out / "pairs.txt"
    pairs.write_text("".join(f"{path}\n{out / str(at)}\n" for at, path in enumerate(files)))
    return run(["xargs", "-a", pairs, "-P2", "-n2", *tool]).seconds
