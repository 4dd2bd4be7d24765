"""The request of an export, and what is refused before it starts. No Beam here."""

import dataclasses
import enum
import operator
from typing import Annotated, Any, ClassVar, NamedTuple

from dicomferry.extras import require
from dicomferry.operations.record import Method
from dicomferry.pipelines.flags import Flag, NamedFlag
from dicomferry.pipelines.requests import GCS_PATTERN, Request, refuse_local_paths
from dicomferry.pixels.formats import AS_UPLOADED, Format, parse_form
from dicomferry.pixels.quality import DEFAULT_QUALITY, Quality, refuse_unused
from dicomferry.places import Access, Overwrite
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage, refuse_missing_bucket
from dicomferry.storage.writable import is_writable
from dicomferry.store.dicom_store import get_store
from dicomferry.store.index import Index
from dicomferry.store.instance_filter import InstanceFilter, check_filter_file, read_instance_filter
from dicomferry.tables.destination import (
    Destination,
    WriteDisposition,
    parse_destination,
    parse_disposition,
    refuse_local_table,
    uri_forms,
)

# Which of the two commands, `export files` or `export table`, has a flag.
FILES, TABLE = "files", "table"


class TableSchema(enum.StrEnum):
    """Columns of a table: BigQueryDestination.schema_flattened and schema_json of the API."""

    FLATTENED = "flattened"
    JSON = "json"


class ReadyExport(NamedTuple):
    """Objects that the request of an export names.

    Attributes:
        data: the store's data folder.
        snapshot: the version of the index that is exported.
        instances: the instances that it is limited to; None: all.
    """

    data: Storage
    snapshot: Index
    instances: InstanceFilter | None


def _parse_table(text: str) -> Destination:
    """Read a destination; local paths become absolute, so that they mean the same anywhere."""
    return parse_destination(parse_destination(text).uri)


def _setting(text: str, default: float) -> Flag:
    """A setting of an encoder: where it is given, it has to have an effect."""
    return Flag(text, default_help=str(default), group=FILES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportRequest(Request):
    """An export to run; either `destination` or `table` is set."""

    method: ClassVar[Method] = Method.EXPORT
    pipeline: ClassVar[str] = "export_dicom"
    title: ClassVar[str] = "Export DICOM instances"
    description: ClassVar[str] = "Export the instances of a store, as files or as rows of a table."

    destination: Annotated[
        Storage | None,
        Flag(
            "Folder or gs://bucket/prefix of the files",
            parse=open_storage,
            format=operator.attrgetter("root"),
            group=FILES,
            remote_help="gs://bucket/prefix of the files",
            remote_pattern=GCS_PATTERN,
        ),
    ] = None
    table: Annotated[
        Destination | None,
        Flag(
            uri_forms(),
            parse=_parse_table,
            format=operator.attrgetter("uri"),
            group=TABLE,
            remote_help="bq://project.dataset.table or delta:gs://bucket/folder",
            remote_pattern="^(bq://.+|delta:gs://.+)$",
        ),
    ] = None
    write_disposition: Annotated[
        WriteDisposition,
        Flag(
            "WRITE_EMPTY: the table must be new or empty; WRITE_TRUNCATE: replace its rows and "
            "columns; WRITE_APPEND: add rows, and the columns that they need",
            parse=parse_disposition,
            group=TABLE,
            is_recorded=True,
        ),
    ] = WriteDisposition.WRITE_EMPTY
    schema: Annotated[
        TableSchema,
        Flag(
            "flattened: one column per attribute; json: one column of DICOM JSON",
            group=TABLE,
            is_recorded=True,
        ),
    ] = TableSchema.FLATTENED
    include_source_store: Annotated[
        bool, Flag("Add the column SourceDicomStore to the table", group=TABLE)
    ] = False
    mime_type: Annotated[
        Format,
        Flag(
            "Format of the files: dicom (as uploaded); j2k, jpegls or htj2k (DICOM with lossless "
            "compression); png or jpeg (pictures); or a MIME type that `dicomferry formats` lists",
            also="to",
            metavar="FORM",
            parse=parse_form,
            format=operator.attrgetter("mime_type"),
            default_help="as uploaded",
            group=FILES,
            is_recorded=True,
        ),
    ] = AS_UPLOADED
    skip_without_pixels: Annotated[
        bool,
        Flag(
            "Count instances without pixel data, which have no pictures, as skipped instead of "
            "failed",
            group=FILES,
        ),
    ] = False
    filter: Annotated[
        str,
        Flag(
            "File, local or gs://, with one path per line; only instances below these are "
            "exported: /studies/UID[/series/UID[/instances/UID]]",
            metavar="FILE",
            remote_help="gs:// object with one path per line; only instances below these are "
            "exported: /studies/UID[/series/UID[/instances/UID]]",
            remote_pattern=GCS_PATTERN,
        ),
    ] = ""
    snapshot: Annotated[
        int | None, Flag("Version of the store to export", default_help="the newest")
    ] = None
    jpeg_quality: Annotated[
        int | None,
        _setting(
            "Quality of JPEG (4.50, 4.51, image/jpeg), 1 to 100", DEFAULT_QUALITY.jpeg_quality
        ),
    ] = None
    j2k_ratio: Annotated[
        float | None,
        _setting("Compression ratio of lossy JPEG 2000 (4.91, 4.203)", DEFAULT_QUALITY.j2k_ratio),
    ] = None
    jpegls_near: Annotated[
        int | None,
        _setting(
            "Largest error of a sample in near-lossless JPEG-LS (4.81)",
            DEFAULT_QUALITY.jpegls_near,
        ),
    ] = None
    jxl_distance: Annotated[
        float | None,
        _setting(
            "Butteraugli distance of lossy JPEG XL (4.112); 1.0 is hard to see",
            DEFAULT_QUALITY.jxl_distance,
        ),
    ] = None

    overwrite: Annotated[
        Overwrite,
        Flag(
            "Existing files that may be replaced; never: none, the destination must be empty; own: "
            "those at a destination that exports of this store have marked; any: all of the same "
            "names",
            group=FILES,
        ),
    ] = Overwrite.ANY
    derive_uids: Annotated[
        bool,
        Flag(
            "Give files of lossy formats a new SOP Instance UID, derived from the "
            "instance's, and name them by it",
            group=FILES,
        ),
    ] = False

    @property
    def quality(self) -> Quality:
        """The settings of the lossy encoders."""
        return DEFAULT_QUALITY._replace(**self._settings)

    @property
    def _settings(self) -> dict[str, Any]:
        """Those that were given."""
        given = {name: getattr(self, name) for name in Quality._fields}
        return {name: value for name, value in given.items() if value is not None}

    def has(self, flag: NamedFlag) -> bool:
        """Whether a flag has a meaning in this request; see `Request.has`."""
        return flag.flag.group in ("", FILES if self.table is None else TABLE)

    def check(self) -> None:
        """Refuse what is wrong by itself.

        Raises:
            ValueError: with what is wrong and what to do.
        """
        if (self.destination is None) == (self.table is None):
            raise ValueError("name either a --destination for files or a --table for rows")
        super().check()
        self.quality.validate()
        refuse_unused(self._settings, self.mime_type.transfer_syntax)

    def check_reach(self, remote_runner: str = "") -> None:
        """Refuse what a quick look shows; see `Request.check_reach`."""
        self.check()
        refuse_local_paths(remote_runner, root=self.root)
        if self.destination is not None:
            refuse_local_paths(remote_runner, destination=self.destination)
        if self.table is not None and remote_runner:
            refuse_local_table(self.table)
        get_store(self.root, self.store)
        if self.destination is not None:
            refuse_missing_bucket(self.destination.root)
        if self.table is not None:
            refuse_missing_bucket(self.table.place(self.table.uri).location)
        if self.filter:
            refuse_missing_bucket(self.filter)
            check_filter_file(self.filter)

    def resolve(self, remote_runner: str = "") -> ReadyExport:
        """Validate the request and resolve the store, its version and the filter.

        What the load of a table would refuse is refused now, as far as it can be known.

        Raises:
            ValueError, LookupError, MissingExtraError: with what is wrong and what to do.
        """
        self.check_reach(remote_runner)
        self._check_places()
        if self.destination is not None and not is_writable(self.destination):
            raise ValueError(f"{self.destination.root} cannot be written: name another destination")
        if self.table is not None:
            require(self.table.extra, self.table.uri)
            self.table.check(self.write_disposition)
        data = get_store(self.root, self.store).data
        instances = read_instance_filter(self.filter, self._filter_folders) if self.filter else None
        return ReadyExport(data, Index(data, self.snapshot), instances)

    @property
    def _filter_folders(self) -> AllowedFolders | None:
        return self.rules.folders(Access.READ) if self.rules else None

    def _check_places(self) -> None:
        """Refuse what is out of bounds by now, such as by links."""
        if self.rules is None:
            return
        if self.destination is not None:
            self.rules.check(self.destination.root, Access.WRITE)
        if self.table is not None:
            self.rules.check(self.table.uri, Access.WRITE)
        if self.filter:
            self.rules.check(self.filter, Access.READ)
