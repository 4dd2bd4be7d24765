"""What an import is asked for, and what of it is refused before it starts. No Beam here."""

import dataclasses
import os
from typing import NamedTuple

from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import PROBLEMS
from dicomferry.operations.record import Method
from dicomferry.pipelines.requests import Request, refuse_local_paths
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.uri import parse_source
from dicomferry.storage.registry import capabilities_of, open_storage
from dicomferry.store.dicom_store import DicomStore, get_store
from dicomferry.tables.stream import Stream, refuse_local_tables, streams_of


@dataclasses.dataclass(frozen=True)
class ImportRequest(Request):
    """What to import; fields mirror the flags, see --help."""

    source: str
    retry_failed: str = ""
    dry_run: bool = False
    fail_conflicts: bool = True
    within: tuple[str, ...] = ()

    def allowed_folders(self) -> AllowedFolders | None:
        """What a listing of local files must not leave; None if it may go anywhere.

        The stores' own root is out of bounds: whoever may import into one store could read the
        others there.
        """
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
        if self.source:
            parse_source(self.source)


class ReadyImport(NamedTuple):
    """What an import found before it starts.

    Attributes:
        store: where to.
        streams: tables that new rows go to.
        retried: URIs of what failed earlier; None if there is a source to list.
    """

    store: DicomStore
    streams: list[Stream]
    retried: list[str] | None


def prepare(request: ImportRequest, remote_runner: str = "") -> ReadyImport:
    """Refuse a wrong request, before anything starts, and find what it is about.

    Args:
        request: what is asked for.
        remote_runner: name of the runner; '' if the job runs here.

    Raises:
        ValueError, LookupError: with what is wrong and what to do.
    """
    request.check()
    refuse_local_paths(remote_runner, root=request.root)
    if request.source and not capabilities_of(request.source).is_shared:
        refuse_local_paths(remote_runner, source=open_storage(request.source))
    store = get_store(request.root, request.store)
    streams = streams_of(store.resource, str(store.name))
    if remote_runner:
        refuse_local_tables(streams)
    retried = _uris_to_retry(request) if request.retry_failed else None
    return ReadyImport(store, streams, retried)


def _uris_to_retry(request: ImportRequest) -> list[str]:
    """What failed in an earlier import.

    Raises:
        LookupError: there is no such operation.
        ValueError: it was no import into this store, or did not come to its end.
    """
    earlier = OperationFolder(
        request.root, request.store.parent, request.retry_failed.rpartition("/")[2]
    )
    record = earlier.read()
    if record.store != request.store or record.metadata.method != Method.IMPORT:
        raise ValueError(
            f"{earlier.name} is no import into {request.store}: "
            "`dicomferry operations list` shows which are"
        )
    if not record.done or (record.error and record.error.code != INVALID_ARGUMENT):
        raise ValueError(
            f"{earlier.name} did not come to its end, so there are files that it never reached: "
            "import its source again; what it took in is not read twice"
        )
    return [o["source"] for o in earlier.outcomes() if o["outcome"] in PROBLEMS]
