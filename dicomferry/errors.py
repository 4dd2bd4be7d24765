"""Why one file or instance failed: stable codes, fixed reasons.

A reason never holds exception text or attribute values: both can be patient data.
"""

from enum import StrEnum
from typing import NamedTuple


class Reason(StrEnum):
    """Why one file or instance is not imported or exported.

    The value is the code, which outcome lists, logs and tests hold: never rename one.

    Attributes:
        sentence: the fixed reason for people, with what to do about it.
    """

    sentence: str

    def __new__(cls, code: str, sentence: str = "") -> "Reason":
        """Make a member from its code, which is its name, and its sentence."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member

    # What a listing finds besides files.
    FOLDER_MARKER = ("FOLDER_MARKER", "an empty object that marks a folder: nothing to import")
    LINK_LOOP = (
        "LINK_LOOP",
        "a link to a folder that contains it: not followed, nothing to import",
    )
    DANGLING_LINK = (
        "DANGLING_LINK",
        "a link whose target is missing, or that leads back to itself: correct it",
    )
    LINK_LEADS_OUT = (
        "LINK_LEADS_OUT",
        "a link that leads out of the folders that may be read: not followed, copy the file",
    )
    NOT_A_FILE = ("NOT_A_FILE", "a pipe, socket or device, not a file: leave it out")
    UNREADABLE = ("UNREADABLE", "the file cannot be read: grant permission to read it")
    FOLDER_UNREADABLE = (
        "FOLDER_UNREADABLE",
        "the folder cannot be listed: grant permission to read and enter it",
    )

    # Files that hold no instance.
    NOT_DICOM = (
        "NOT_DICOM",
        "not a DICOM file: neither 'DICM' at byte 128 nor a data set at the start",
    )
    EMPTY_FILE = ("EMPTY_FILE", "the file is empty: copy it again from its source")
    GZIPPED = ("GZIPPED", "the file is compressed with gzip: unpack it first, e.g. with gunzip")
    ZIPPED = ("ZIPPED", "the file is a zip archive: unpack it first and import what it holds")
    DICOMDIR = (
        "DICOMDIR",
        "a DICOMDIR, the directory of a medium: it holds no instance, nothing to import",
    )

    # Files that are broken.
    TRUNCATED = (
        "TRUNCATED",
        "the file ends before its data set does: copy it again from its source",
    )
    MALFORMED = (
        "MALFORMED",
        "the data set breaks the encoding rules of PS3.5: rewrite it, e.g. with dcmconv",
    )
    NESTED_TOO_DEEP = (
        "NESTED_TOO_DEEP",
        "sequences are nested more than 128 levels deep: flatten them",
    )
    HEADER_TOO_LARGE = (
        "HEADER_TOO_LARGE",
        "the header has more than 64 MiB, 5,000,000 elements or 1 GiB of nested text: split "
        "the instance",
    )
    BROKEN_DEFLATE = (
        "BROKEN_DEFLATE",
        "the deflated data set is damaged: copy it again from its source",
    )
    INFLATED_TOO_LARGE = (
        "INFLATED_TOO_LARGE",
        "the deflated data set is larger than 1 GiB: rewrite it in another transfer syntax",
    )

    # Instances without identity.
    MISSING_STUDY_INSTANCE_UID = (
        "MISSING_STUDY_INSTANCE_UID",
        "(0020,000D) Study Instance UID is missing: add it",
    )
    MISSING_SERIES_INSTANCE_UID = (
        "MISSING_SERIES_INSTANCE_UID",
        "(0020,000E) Series Instance UID is missing: add it",
    )
    MISSING_SOP_INSTANCE_UID = (
        "MISSING_SOP_INSTANCE_UID",
        "(0008,0018) SOP Instance UID is missing: add it",
    )
    INVALID_STUDY_INSTANCE_UID = (
        "INVALID_STUDY_INSTANCE_UID",
        "(0020,000D) Study Instance UID is not one UID of at most 64 digits and dots: correct it",
    )
    INVALID_SERIES_INSTANCE_UID = (
        "INVALID_SERIES_INSTANCE_UID",
        "(0020,000E) Series Instance UID is not one UID of at most 64 digits and dots: correct it",
    )
    INVALID_SOP_INSTANCE_UID = (
        "INVALID_SOP_INSTANCE_UID",
        "(0008,0018) SOP Instance UID is not one UID of at most 64 digits and dots: correct it",
    )

    # What an import decides.
    ALREADY_IMPORTED = (
        "ALREADY_IMPORTED",
        "this file, unchanged since, was imported by an earlier job",
    )
    ALREADY_EXISTS = (
        "ALREADY_EXISTS",
        "another file with the same SOP Instance UID, but different bytes or another study or "
        "series, came first and stays: compare the two sources",
    )
    SOURCE_GONE = ("SOURCE_GONE", "the file is no longer there: put it back, or leave it out")
    SOURCE_CHANGED = (
        "SOURCE_CHANGED",
        "the file changed while it was read: import it again once nothing writes to it",
    )
    WRONG_CHECKSUM = (
        "WRONG_CHECKSUM",
        "the bytes read did not match the CRC-32C of the object, three times in a row: "
        "try again; if that fails, copy the object again from its source",
    )
    BLOB_CORRUPT = (
        "BLOB_CORRUPT",
        "its bytes in the store are not those that were imported: delete the blob that "
        "`dicomferry stores verify` names and import a copy of the original",
    )
    BLOB_MISSING = (
        "BLOB_MISSING",
        "its bytes are missing from the store, as `dicomferry stores verify` shows: import a "
        "copy of the original",
    )
    BLOB_DELETED = (
        "BLOB_DELETED",
        "its bytes were deleted from the store before its row was committed, by `stores vacuum` "
        "after 7 days or with its instance: import it again",
    )
    NO_SUCH_RESOURCE = (
        "NO_SUCH_RESOURCE",
        "no instance of the store is below this path of the filter: correct it",
    )
    WORKER_LOST = (
        "WORKER_LOST",
        "the process that worked on it crashed or hung: try again; if that fails, report it",
    )

    INTERNAL_ERROR = (
        "INTERNAL_ERROR",
        "a bug in dicomferry, not in the file: report it with the kind of error and the place "
        "in the code that are listed with it",
    )

    # Transcoding: the data set, then the pixels, then what a target can hold.
    DATA_SET_INVALID = (
        "DATA_SET_INVALID",
        "the data set cannot be read to its end: lengths or tags are invalid; export it "
        "as uploaded (transfer-syntax=*) and repair it",
    )
    DATA_SET_TOO_LARGE = (
        "DATA_SET_TOO_LARGE",
        "the attributes before or after the pixels exceed 512 MiB, or a deflated data set "
        "inflates to more than 4 GiB; export it as uploaded (transfer-syntax=*)",
    )
    SYNTAX_UNKNOWN = (
        "SYNTAX_UNKNOWN",
        "there is no decoder for its transfer syntax; export it as uploaded (transfer-syntax=*)",
    )
    NO_PIXEL_DATA = ("NO_PIXEL_DATA", "it has no pixel data: use application/dicom")
    PIXEL_ATTRIBUTES_INVALID = (
        "PIXEL_ATTRIBUTES_INVALID",
        "Rows, Columns, Samples per Pixel, Bits Allocated or another attribute of the "
        "pixels is missing or invalid; export it as uploaded (transfer-syntax=*)",
    )
    PIXEL_DATA_TRUNCATED = (
        "PIXEL_DATA_TRUNCATED",
        "the pixel data is shorter than its attributes say; export it as uploaded "
        "(transfer-syntax=*)",
    )
    FRAMES_NOT_FOUND = (
        "FRAMES_NOT_FOUND",
        "the frames cannot be found in the encapsulated pixel data, or their number "
        "differs from Number of Frames; export it as uploaded (transfer-syntax=*)",
    )
    FRAME_TOO_LARGE = (
        "FRAME_TOO_LARGE",
        "one frame decodes to more than 512 MiB; export it as uploaded (transfer-syntax=*)",
    )
    CODE_STREAM_INVALID = (
        "CODE_STREAM_INVALID",
        "a compressed frame is truncated or damaged and cannot be decoded; export it as "
        "uploaded (transfer-syntax=*)",
    )
    CODE_STREAM_MISMATCH = (
        "CODE_STREAM_MISMATCH",
        "a compressed frame disagrees with the attributes (Rows, Columns, Samples per "
        "Pixel, Bits Allocated); export it as uploaded (transfer-syntax=*)",
    )
    TOO_DEEP_FOR_BASELINE = (
        "TOO_DEEP_FOR_BASELINE",
        "its samples have more than 8 bits, too many for JPEG Baseline (4.50): use "
        "1.2.840.10008.1.2.4.51 (up to 12 bits), .4.70 or .4.90, or image/jpeg",
    )
    TOO_DEEP_FOR_EXTENDED = (
        "TOO_DEEP_FOR_EXTENDED",
        "its samples have more than 12 bits, too many for JPEG Extended (4.51): use "
        "1.2.840.10008.1.2.4.70, .4.80 or .4.90, or image/jpeg",
    )
    UNFIT_FOR_COMPRESSION = (
        "UNFIT_FOR_COMPRESSION",
        "1-bit, 32-bit, 64-bit and floating-point pixels do not fit this transfer syntax: "
        "use 'application/dicom; transfer-syntax=1.2.840.10008.1.2.1', which does not compress",
    )
    UNFIT_FOR_RLE = (
        "UNFIT_FOR_RLE",
        "this number of bytes per pixel, or this pixel type, does not fit RLE Lossless: use "
        "1.2.840.10008.1.2.1 or .1.2.1.99",
    )
    PALETTE_NOT_LOSSY = (
        "PALETTE_NOT_LOSSY",
        "palette indices must not be compressed lossily: use a lossless transfer "
        "syntax, image/jpeg or image/png",
    )
    SIGNED_NOT_LOSSY = (
        "SIGNED_NOT_LOSSY",
        "signed pixels do not fit this lossy transfer syntax: use "
        "1.2.840.10008.1.2.4.81, .4.91, .4.203 or a lossless one",
    )
    COLOUR_UNFIT = (
        "COLOUR_UNFIT",
        "this color space does not fit the transfer syntax: use 1.2.840.10008.1.2.1, "
        ".4.80 or .4.90",
    )
    COLOUR_UNFIT_FOR_JPEG_XL = (
        "COLOUR_UNFIT_FOR_JPEG_XL",
        "YBR samples do not fit JPEG XL without rounding: use 1.2.840.10008.1.2.4.111 "
        "if stored as JPEG, else .4.80 or .4.90",
    )
    COLOUR_SPACE_UNKNOWN = (
        "COLOUR_SPACE_UNKNOWN",
        "its color space cannot be converted to RGB: use a lossless transfer syntax",
    )
    NOT_JPEG_BASELINE = (
        "NOT_JPEG_BASELINE",
        "JPEG XL JPEG Recompression (4.111) accepts only images stored as JPEG Baseline: use "
        "1.2.840.10008.1.2.4.110 or .4.112",
    )
    IMAGE_TOO_LARGE_FOR_TARGET = (
        "IMAGE_TOO_LARGE_FOR_TARGET",
        "Rows, Columns or the total length exceeds the limits of the target: use "
        "1.2.840.10008.1.2.4.90",
    )
    LOOKUP_TABLE_INVALID = (
        "LOOKUP_TABLE_INVALID",
        "its palette, Modality LUT or VOI LUT is missing, damaged or shorter than declared: "
        "use application/dicom",
    )
    NOT_RENDERABLE = (
        "NOT_RENDERABLE",
        "its pixels cannot be rendered as a picture: use application/dicom",
    )


# Importing the same file again cannot succeed: the repaired file has another name, or there is
# nothing to import.
NO_RETRY = frozenset(
    (
        Reason.NOT_A_FILE,
        Reason.LINK_LEADS_OUT,
        Reason.NOT_DICOM,
        Reason.GZIPPED,
        Reason.ZIPPED,
        Reason.ALREADY_EXISTS,
    )
)


class Fault(NamedTuple):
    """An exception of our own code about one instance, without its text: that can hold values.

    Attributes:
        kind: type of the exception, such as `IndexError` or `zlib.error`.
        place: file and line of the innermost frame of this package, such as
            `dicomferry/pixels/render/grayscale.py:118`.
        frames: line and function of every frame, outermost first.
    """

    kind: str
    place: str
    frames: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} at {self.place}"


class InstanceError(Exception):
    """One file or instance failed; the rest of the job goes on.

    Attributes:
        code: the reason, stable across versions.
        fault: what was raised and where; only for an INTERNAL_ERROR.
    """

    def __init__(self, code: Reason, fault: Fault | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.fault = fault

    def __reduce__(self) -> tuple[type["InstanceError"], tuple[Reason, Fault | None]]:
        return type(self), (self.code, self.fault)

    @property
    def reason(self) -> str:
        """The fixed sentence for people, with what to do about it."""
        return self.code.sentence

    @property
    def fault_text(self) -> str:
        """Kind and place of the fault, for people; '' if the cause is not in our code."""
        return str(self.fault) if self.fault else ""
