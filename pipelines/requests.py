"""Requests: the parsed flags of a job, and the checks that both kinds share.

No Beam here: the server imports it.
"""

import abc
import dataclasses
import operator
import os
from typing import Annotated, ClassVar

import dicomferry
from dicomferry.operations.asked import Asked, this_user, without_secrets
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.record import Method
from dicomferry.pipelines.flags import Flag, NamedFlag, flags_of
from dicomferry.pipelines.log_format import LogFormat
from dicomferry.places import Bounds, PlaceRules
from dicomferry.places.bounds import parse_bounds
from dicomferry.resource_names import StoreName, parse_store
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_file, open_storage
from dicomferry.storage.writable import is_writable

ROOT_VARIABLE = "DICOMFERRY_ROOT"
DEFAULT_ROOT = "./dicomferry-data"
# They stand in the record otherwise, or are about the process alone.
_NOT_RECORDED = ("root", "store", "operation", "summary_file", "log_format", "within", "bounds")
# Of parameters of the Dataflow templates: workers there reach buckets, and no local folder.
GCS_PATTERN = "^gs://[^/]+(/.*)?$"


def default_root() -> Storage:
    """The root that is used where none is named."""
    return open_storage(os.environ.get(ROOT_VARIABLE, DEFAULT_ROOT))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(abc.ABC):
    """A job to run. Each field is a flag; the values are parsed."""

    # Of the API; and the module that runs it.
    method: ClassVar[Method]
    pipeline: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]

    store: Annotated[StoreName, Flag("Id or full resource name of the store", parse=parse_store)]
    root: Annotated[
        Storage,
        Flag(
            "Folder or gs://bucket/prefix that holds the stores",
            parse=open_storage,
            format=operator.attrgetter("root"),
            default_help=f"${ROOT_VARIABLE}, else {DEFAULT_ROOT}",
            remote_help="gs://bucket/prefix that holds the stores",
            remote_pattern=GCS_PATTERN,
            is_required_remotely=True,
        ),
    ] = dataclasses.field(default_factory=default_root)
    max_failures: Annotated[
        int,
        Flag(
            "Allow up to N failures before exiting with 1",
            metavar="N",
            minimum=0,
            remote_help="The job fails if more files than this failed (default: 0)",
        ),
    ] = 0
    workers: Annotated[
        int | None,
        Flag(
            "Number of processes that read and write; 0: work in the main process",
            metavar="N",
            minimum=0,
            default_help="one per core; on a remote runner 0",
            in_templates=False,
        ),
    ] = None
    summary_file: Annotated[
        str,
        Flag(
            "File, local or gs://, for one JSON object about the job, written when it starts and "
            "when it has ended",
            metavar="FILE",
            in_templates=False,
        ),
    ] = ""
    operation: Annotated[
        str,
        Flag(
            "For programs that start jobs: run the operation that was recorded for this process, "
            "once standard input ends, instead of a new one",
            metavar="ID",
            in_commands=False,
            remote_help="Leave it empty: the API server gives the id of an operation here",
        ),
    ] = ""
    bounds: Annotated[
        Bounds | None,
        Flag(
            "For programs that start jobs: the places that this one may read and write, as JSON",
            metavar="JSON",
            parse=parse_bounds,
            format=Bounds.to_text,
            default_help="all places",
            in_commands=False,
            remote_help="Leave it empty: the API server gives the places that a job may read and "
            "write here",
        ),
    ] = None
    log_format: Annotated[
        LogFormat | None,
        Flag(
            "Format of the lines on standard error; json is what Cloud Logging parses",
            default_help="text; json for Dataflow launches, except from a terminal",
            in_commands=False,
            in_templates=False,
        ),
    ] = None

    @property
    def rules(self) -> PlaceRules | None:
        """The rules for the places that the job reads and writes; None: there are none."""
        return PlaceRules(self.bounds, root=self.root) if self.bounds else None

    def writable_folders(self) -> list[str] | None:
        """The local folders that a bounded job writes to; None: it is not bounded."""
        if self.bounds is None:
            return None
        parent = self.store.parent
        own = (self.store.folder, OperationFolder(self.root, parent, self.operation).path)
        paths = (self.root.local_path(path) for path in own)
        return [*self.bounds.write.folders, *filter(None, paths)]

    def check(self) -> None:
        """Refuse what is wrong by itself, without a look at the stores or any bucket.

        Raises:
            ValueError: with what is wrong and what to do.
        """
        for each in flags_of(type(self)):
            value = getattr(self, each.name)
            each.check(value)
            if value != each.field.default and not self.has(each):
                raise ValueError(f"{each.option} has no effect on this job: leave it out")
        if self.summary_file and not open_file(self.summary_file)[1]:
            raise ValueError(f"--summary-file {self.summary_file} is a folder: name a file in it")
        if self.summary_file and not is_writable(open_file(self.summary_file)[0]):
            raise ValueError(f"--summary-file {self.summary_file} cannot be written: name another")

    def asked(self, principal: str = "") -> Asked:
        """Return what the record of its operation says of it: what was given, and the form.

        Args:
            principal: who asks; default: the user of this process.
        """
        flags: dict[str, list[str]] = {}
        for each in flags_of(type(self)):
            value = getattr(self, each.name)
            is_given = value != each.field.default or (each.flag.is_recorded and self.has(each))
            if is_given and each.name not in _NOT_RECORDED:
                values = value if each.is_repeated else (value,)
                flags[each.name] = [without_secrets(each.format(one)) for one in values]
        texts = {name: ", ".join(values) for name, values in flags.items()}
        return Asked(texts, principal or this_user(), dicomferry.__version__)

    def has(self, flag: NamedFlag) -> bool:
        """Whether a flag has a meaning in this request."""
        return not flag.flag.group

    @abc.abstractmethod
    def check_reach(self, remote_runner: str = "") -> None:
        """Refuse what a quick look shows: no index, table, list or file is opened.

        It is for servers, which answer others meanwhile; `resolve` does it too.

        Args:
            remote_runner: name of the runner; '' if the job runs here.

        Raises:
            ValueError, LookupError: with what is wrong and what to do.
        """

    @abc.abstractmethod
    def resolve(self, remote_runner: str = "") -> object:
        """Validate the request and find what it names, before anything starts.

        Args:
            remote_runner: name of the runner; '' if the job runs here.

        Raises:
            ValueError, LookupError: with what is wrong and what to do.
        """


def refuse_local_paths(remote_runner: str, **storages: Storage) -> None:
    """Refuse what workers of a remote runner cannot reach.

    Args:
        remote_runner: its name; '' if the job runs here.
        storages: by the names of their flags.

    Raises:
        ValueError: one of the storages, named by its flag, is local.
    """
    if not remote_runner:
        return
    for flag, storage in storages.items():
        if not storage.capabilities.is_shared:
            raise ValueError(
                f"--{flag} {storage.root} is a local path, which the workers of "
                f"{remote_runner} cannot reach: use gs://bucket/prefix"
            )
