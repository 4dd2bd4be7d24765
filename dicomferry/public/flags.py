"""Keyword arguments of the Python API, named after the flags of the command line."""

import os
from collections.abc import Sequence
from typing import Any, TypedDict, TypeVar

from dicomferry.pipelines.flags import NamedFlag, flags_of
from dicomferry.pipelines.requests import Request

R = TypeVar("R", bound=Request)
Path = str | os.PathLike[str]


class JobFlags(TypedDict, total=False):
    """Keyword arguments of all jobs.

    Attributes:
        workers: number of processes that read and write; 0 uses only the calling process; default:
            one per core.
        progress: whether to show a progress bar; default: in terminals and notebooks.
        beam_args: flags for Beam, such as `["--runner=DataflowRunner", …]`.
    """

    workers: int | None
    progress: bool | None
    beam_args: Sequence[str]


class ImportFlags(JobFlags, total=False):
    """Keyword arguments of an import.

    Attributes:
        retry_failed: id of an operation, instead of a source: imports the files that failed in it.
        dry_run: read and check everything, store nothing.
        on_conflict: whether a conflict counts as a failure: "fail" (default) or "ignore".
        within: folders; links in local sources are followed only into these.
    """

    retry_failed: str
    dry_run: bool
    on_conflict: str
    within: Sequence[Path]


class ExportFlags(JobFlags, total=False):
    """Keyword arguments of both kinds of export.

    Attributes:
        filter: file with one path per line: /studies/UID[/series/UID[/instances/UID]]; only
            instances below these are exported.
        snapshot: version of the store to export (default: the newest).
    """

    filter: Path
    snapshot: int | None


class ExportFilesFlags(ExportFlags, total=False):
    """Keyword arguments of an export to files.

    Attributes:
        mime_type: format of the files: "dicom" (default: as uploaded), "j2k", "jpegls", "htj2k",
            "png", "jpeg", or a MIME type.
        skip_without_pixels: count instances without pixel data as skipped, not as failed.
        jpeg_quality: quality of JPEG, 1 to 100.
        j2k_ratio: compression ratio of lossy JPEG 2000.
        jpegls_near: largest error of a sample in near-lossless JPEG-LS.
        jxl_distance: Butteraugli distance of lossy JPEG XL.
        overwrite: which existing files may be replaced: "never" (the destination must be empty),
            "own" (those from earlier exports of this store) or "any" (default).
        derive_uids: give files of lossy formats a SOP Instance UID derived from the instance's.
    """

    mime_type: str
    skip_without_pixels: bool
    jpeg_quality: int
    j2k_ratio: float
    jpegls_near: int
    jxl_distance: float
    overwrite: str
    derive_uids: bool


class ExportTableFlags(ExportFlags, total=False):
    """Keyword arguments of an export to a table.

    Attributes:
        write_disposition: "WRITE_EMPTY" (default), "WRITE_TRUNCATE" or "WRITE_APPEND".
        schema: "flattened" (default), with one column per attribute, or "json", with one column of
            DICOM JSON.
        include_source_store: add the column SourceDicomStore.
    """

    write_disposition: str
    schema: str
    include_source_store: bool


def make_request(kind: type[R], **values: Any) -> R:
    """Make a request from flags by name; values can be strings, paths or already parsed.

    Raises:
        ValueError: a value is wrong; the message says what to do.
        TypeError: there is no such flag.
    """
    known = {flag.name: flag for flag in flags_of(kind)}
    parsed = {
        name: _parse(known[name], value) if name in known else value
        for name, value in values.items()
    }
    return kind(**parsed)


def _parse(flag: NamedFlag, value: Any) -> Any:
    if flag.is_repeated:
        return tuple(_parse_one(flag, each) for each in value)
    return _parse_one(flag, value)


def _parse_one(flag: NamedFlag, value: Any) -> Any:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    return flag.parse(text) if isinstance(text, str) else value
