"""The request of an import, and what is refused before it starts. No Beam here."""

import dataclasses
import enum
import operator
import os
from typing import Annotated, ClassVar, NamedTuple

from dicomferry.extras import require
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.record import Method
from dicomferry.operations.state import has_reached_end
from dicomferry.operations.unreadable import is_unreadable
from dicomferry.pipelines.flags import Flag
from dicomferry.pipelines.requests import GCS_PATTERN, Request, refuse_local_paths
from dicomferry.places import Access
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.pattern import SourcePattern
from dicomferry.sources.uri import parse_source
from dicomferry.storage.registry import (
    capabilities_of,
    open_storage,
    refuse_missing_bucket,
)
from dicomferry.store.dicom_store import DicomStore, get_store
from dicomferry.store.notifications import import_topics
from dicomferry.tables.stream import Stream, refuse_local_tables, streams_of


class OnConflict(enum.StrEnum):
    """Whether other bytes under a stored SOP Instance UID count as a failure."""

    FAIL = "fail"
    IGNORE = "ignore"


class ReadyImport(NamedTuple):
    """Objects that the request of an import names.

    Attributes:
        store: the store to import into.
        streams: tables that new rows are appended to.
        retried: URIs of what failed in an earlier import; None if there is a source to list.
    """

    store: DicomStore
    streams: list[Stream]
    retried: list[str] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportRequest(Request):
    """An import to run; either `source` or `retry_failed` is set."""

    method: ClassVar[Method] = Method.IMPORT
    pipeline: ClassVar[str] = "import_dicom"
    title: ClassVar[str] = "Import DICOM files"
    description: ClassVar[str] = "Import DICOM files into a store."

    source: Annotated[
        SourcePattern | None,
        Flag(
            "File, or quoted pattern with *, ? or **; local or gs://",
            parse=parse_source,
            format=operator.attrgetter("uri"),
            remote_help="gs:// object, or pattern with *, ? or **",
            remote_pattern=GCS_PATTERN,
        ),
    ] = None
    retry_failed: Annotated[
        str,
        Flag(
            "Instead of a source: read again the files that failed in an earlier import",
            metavar="OPERATION",
        ),
    ] = ""
    dry_run: Annotated[bool, Flag("Read and check everything, store nothing")] = False
    on_conflict: Annotated[
        OnConflict,
        Flag(
            "Whether a conflict, other bytes under a stored SOP Instance UID, counts as a failure; "
            "conflicts are listed, and never stored, either way",
            is_recorded=True,
        ),
    ] = OnConflict.FAIL
    within: Annotated[
        tuple[str, ...],
        Flag(
            "Follow links in local sources only into this folder; may be repeated",
            metavar="DIR",
            default_help="anywhere",
            in_templates=False,
        ),
    ] = ()

    def allowed_folders(self) -> AllowedFolders | None:
        """The folders that local files must resolve into; None: any.

        The root of the stores is excluded: whoever may import into one store could read the
        others there.
        """
        if self.rules:
            return self.rules.folders(Access.READ)
        if not self.within:
            return None
        folders = tuple(os.path.realpath(folder) for folder in self.within)
        root = self.root.local_path()
        return AllowedFolders(folders, os.path.realpath(root) if root else "")

    def check(self) -> None:
        """Refuse what is wrong by itself.

        Raises:
            ValueError: with what is wrong and what to do.
        """
        super().check()
        if bool(self.source) == bool(self.retry_failed):
            raise ValueError("name either a source or an operation to retry with --retry-failed")

    def check_reach(self, remote_runner: str = "") -> None:
        """Refuse what a quick look shows; see `Request.check_reach`."""
        self.check()
        refuse_local_paths(remote_runner, root=self.root)
        if self.source and not capabilities_of(self.source.uri).is_shared:
            refuse_local_paths(remote_runner, source=open_storage(self.source.uri))
        get_store(self.root, self.store)
        if self.source:
            refuse_missing_bucket(self.source.uri)

    def resolve(self, remote_runner: str = "") -> ReadyImport:
        """Validate the request and resolve the store, its streams and the files to retry.

        Raises:
            ValueError, LookupError, MissingExtraError: with what is wrong and what to do.
        """
        self.check_reach(remote_runner)
        if self.rules and self.source:
            self.rules.check(self.source.uri, Access.READ)
        store = get_store(self.root, self.store)
        streams = streams_of(store.resource, str(store.name))
        for stream in streams:
            require(stream.destination.extra, f"the stream to {stream.destination}")
        if import_topics(store.resource):
            require("gcp", "a store that notifies Pub/Sub topics")
        if remote_runner:
            refuse_local_tables(streams)
        return ReadyImport(store, streams, _uris_to_retry(self) if self.retry_failed else None)


def _uris_to_retry(request: ImportRequest) -> list[str]:
    """URIs of the files that failed in an earlier import.

    Raises:
        LookupError: there is no such operation.
        ValueError: it is not an import into this store, or it did not reach its end.
    """
    operation_id = request.retry_failed.rpartition("/")[2]
    earlier = OperationFolder(request.root, request.store.parent, operation_id)
    record = earlier.read()
    if record.error and is_unreadable(record):
        raise ValueError(f"{earlier.name}: {record.error.message}")
    if record.store != request.store or record.metadata.method != request.method:
        raise ValueError(
            f"{earlier.name} is not an import into {request.store}: "
            "`dicomferry operations list` shows which are"
        )
    if not has_reached_end(record):
        raise ValueError(
            f"{earlier.name} did not finish, so some files were never read: "
            "import its source again; files that it imported are skipped"
        )
    sources = [each["source"] for each in earlier.problems()]
    if "" in sources:
        raise ValueError(
            f"the list of outcomes of {earlier.name} is damaged, for example by a power cut: "
            "import its source again; files that it imported are skipped"
        )
    return sources
