"""What an export is asked for, and what of it is refused before it starts. No Beam here."""

import dataclasses
from typing import NamedTuple

from dicomferry.pipelines.requests import Request, refuse_local_paths
from dicomferry.pixels.formats import AS_UPLOADED, Format
from dicomferry.pixels.quality import DEFAULT_QUALITY, Quality
from dicomferry.storage.base import Storage
from dicomferry.store.dicom_store import get_store
from dicomferry.store.index import Index
from dicomferry.store.instance_filter import InstanceFilter, read_instance_filter
from dicomferry.tables.destination import Destination, WriteDisposition, refuse_local_table


@dataclasses.dataclass(frozen=True)
class ExportRequest(Request):
    """What to export; fields mirror the flags, see --help. Either destination or table is set."""

    destination: Storage | None = None
    table: Destination | None = None
    write_disposition: WriteDisposition = WriteDisposition.WRITE_EMPTY
    flattened: bool = True
    include_source_store: bool = False
    format: Format = AS_UPLOADED
    quality: Quality = DEFAULT_QUALITY
    filter: str = ""
    snapshot: int | None = None

    def check(self) -> None:
        """Refuse what is wrong by itself.

        Raises:
            ValueError: with what is wrong and what to do.
        """
        super().check()
        if (self.destination is None) == (self.table is None):
            raise ValueError("name either a --destination for files or a --table for rows")
        self.quality.validate()


class ReadyExport(NamedTuple):
    """What an export found before it starts.

    Attributes:
        data: the store's data folder.
        snapshot: the version of the index that is exported.
        paths: what it is limited to; None: nothing.
    """

    data: Storage
    snapshot: Index
    paths: InstanceFilter | None


def prepare(request: ExportRequest, remote_runner: str = "") -> ReadyExport:
    """Refuse a wrong request, before anything starts, and find what it is about.

    Args:
        request: what is asked for.
        remote_runner: name of the runner; '' if the job runs here.

    Raises:
        ValueError, LookupError: with what is wrong and what to do.
    """
    request.check()
    refuse_local_paths(remote_runner, root=request.root)
    if request.destination is not None:
        refuse_local_paths(remote_runner, destination=request.destination)
    if request.table is not None:
        _check_table(request.table, request.write_disposition, remote_runner)
    data = get_store(request.root, request.store).data
    paths = read_instance_filter(request.filter) if request.filter else None
    return ReadyExport(data, Index(data, request.snapshot), paths)


def _check_table(table: Destination, disposition: WriteDisposition, remote_runner: str) -> None:
    """Refuse before any work what the load would refuse, as far as it can be known."""
    if remote_runner:
        refuse_local_table(table)
    table.check(disposition)
