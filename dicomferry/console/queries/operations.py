"""Operations of a dataset, a page at a time."""

from collections.abc import Mapping
from datetime import date
from typing import NamedTuple

from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.api.access import Principal
from dicomferry.api.errors import ApiError
from dicomferry.jobs.elsewhere import OperationReader
from dicomferry.operations.listing import operation_ids, read_operations
from dicomferry.operations.record import Method, OperationRecord
from dicomferry.operations.state import State, state_of
from dicomferry.resource_names import DatasetName, StoreName
from dicomferry.storage.base import Storage

OPERATIONS_PAGE = 25
# A caller with few permissions, or a rare filter, must not make the server read everything for one
# page: it goes on from a link.
_MAX_LOOKED_AT = 500
_DAYS = ("first", "last")


class OperationsPage(NamedTuple):
    """Some operations, the newest first, and where the older ones start; '' at the end."""

    operations: list[OperationRecord]
    before: str

    @property
    def is_running(self) -> bool:
        """Whether one of them is running."""
        return any(not record.done for record in self.operations)


class OperationsFilter(NamedTuple):
    """Operations to show; '' and None are any.

    Attributes:
        method: that started them.
        state: that they are in.
        store: id of their store.
        first: day on which they started, in UTC, or later.
        last: day on which they started, in UTC, or earlier.
    """

    method: Method = Method.UNKNOWN
    state: str = ""
    store: str = ""
    first: date | None = None
    last: date | None = None

    def matches(self, record: OperationRecord) -> bool:
        """Whether an operation of these days is one of those that are wanted."""
        return (
            self.method in (Method.UNKNOWN, record.metadata.method)
            and self.state in ("", state_of(record))
            and self.store in ("", record.store.id)
        )

    def query(self) -> dict[str, str]:
        """Return the parameters of a page that give this filter."""
        return {name: str(value or "") for name, value in self._asdict().items()}


class OperationsQuery(NamedTuple):
    """Operations to list.

    Attributes:
        parent: dataset that they are in.
        before: list those with an id before this one; '' for the newest.
        store: list those of this store; None for all.
        wanted: list these of them.
    """

    parent: DatasetName
    before: str = ""
    store: StoreName | None = None
    wanted: OperationsFilter = OperationsFilter()


def check_filter(query: Mapping[str, str]) -> OperationsFilter:
    """Return the filter that the parameters of a page give.

    Raises:
        ApiError: there is no such method or state, or a day is none.
    """
    try:
        return OperationsFilter(
            Method(query.get("method", "")),
            State(query["state"]) if query.get("state") else "",
            query.get("store", "").strip(),
            *(date.fromisoformat(query[name]) if query.get(name) else None for name in _DAYS),
        )
    except ValueError:
        problem = (
            f"methods are {_choices(Method)}; states are {_choices(State)}; days are 2026-01-31"
        )
        raise ApiError(INVALID_ARGUMENT, f"There is no such filter: {problem}.") from None


def page_of_operations(
    root: Storage, query: OperationsQuery, principal: Principal, reader: OperationReader
) -> OperationsPage:
    """Return operations that a principal may see, the newest first."""
    ids = _ids(root, query)
    page: list[OperationRecord] = []
    for looked_at, listed in enumerate(read_operations(root, query.parent, ids)):
        if len(page) == OPERATIONS_PAGE or looked_at == _MAX_LOOKED_AT:
            return OperationsPage(page, ids[looked_at - 1])
        if listed is None:
            continue
        names = listed.record.name, str(listed.record.store)
        is_of_store = query.store in (None, listed.record.store)
        if is_of_store and principal.may("healthcare.operations.get", *names):
            record = reader.reconcile(*listed)
            page += [record] if query.wanted.matches(record) else []
    return OperationsPage(page, "")


def _ids(root: Storage, query: OperationsQuery) -> list[str]:
    """Return the ids of the days that are wanted: an id begins with the time of its start."""
    first, last = query.wanted.first, query.wanted.last
    begin = _digits(first) if first else ""
    end = (_digits(last) if last else "") + "~"  # after all characters of ids
    ids = operation_ids(root, query.parent, query.before)
    return [each for each in ids if begin <= each < end]


def _digits(day: date) -> str:
    return day.isoformat().replace("-", "")


def _choices(kind: type[Method] | type[State]) -> str:
    return ", ".join(filter(None, kind))
