"""Pages of one operation: what became of it and of every file, and what to do next."""

import re
from contextlib import suppress

from google.rpc.code_pb2 import NOT_FOUND
from starlette.requests import Request
from starlette.responses import Response

from dicomferry.api.access import Principal
from dicomferry.api.access.permissions import METHOD_PERMISSIONS
from dicomferry.api.errors import ApiError
from dicomferry.api.resources import without_folders
from dicomferry.console.queries import outcomes
from dicomferry.console.queries.outcomes import OutcomesFilter
from dicomferry.console.requests import dataset_of
from dicomferry.console.streams import File, Stream
from dicomferry.console.views import layout
from dicomferry.console.views.markup import Html, join
from dicomferry.console.views.operation import (
    cancel_link,
    next_section,
    operation_section,
    request_section,
)
from dicomferry.console.views.outcomes import outcomes_section
from dicomferry.console.views.problems import problems_section
from dicomferry.jobs.elsewhere import OperationReader
from dicomferry.jobs.next_steps import next_steps
from dicomferry.operations.folder import OperationFolder, OperationNotFoundError
from dicomferry.operations.record import OperationRecord
from dicomferry.storage.base import Storage

_GET_OPERATION = "healthcare.operations.get"
_NO_SCRIPT_SECONDS = 5


class OperationPages:
    """Answers requests for pages of operations, of principals who have logged in."""

    def __init__(self, root: Storage, reader: OperationReader) -> None:
        """Show the operations below a root."""
        self._root = root
        self._reader = reader

    def operation(self, request: Request, principal: Principal) -> Response:
        """Show one operation, what failed, and a page of its outcomes."""
        folder, record = self._operation(request, principal)
        # Who may see all operations may know where they are on this machine.
        is_for_all = principal.may(_GET_OPERATION, "*")
        root = self._root.root if is_for_all else ""
        record = record if is_for_all else without_folders(record)
        section = operation_section(record)
        if request.query_params.get("part") == "operation":
            return layout.fragment(section)
        wanted = outcomes.check_filter(request.query_params)
        after = request.query_params.get("after", "")
        page = outcomes.page_of_outcomes(folder, wanted, after)
        problems = None
        if not after and wanted == OutcomesFilter() and _has_problems(record):
            problems = outcomes.problems(folder)
        listed = outcomes_section(record, page, wanted, is_first=not after)
        permission, names = METHOD_PERMISSIONS["CancelOperation"], (folder.name, str(record.store))
        may_cancel = not record.done and principal.may(permission, *names)
        body = [
            section,
            cancel_link(record) if may_cancel else Html(),
            problems_section(record, problems),
            next_section(next_steps(record, root)),
            request_section(record),
            listed,
        ]
        refresh = 0 if record.done else _NO_SCRIPT_SECONDS
        title = f"{record.metadata.method.verb} {folder.id}"
        return layout.page(title, join(body), principal, refresh_seconds=refresh)

    def outcomes(self, request: Request, principal: Principal) -> Response:
        """Return the outcomes as they were written, to download."""
        folder, _ = self._operation(request, principal)
        wanted = outcomes.check_filter(request.query_params)
        parts = [folder.id, wanted.outcome, wanted.code, "outcomes.jsonl"]
        file = File("-".join(filter(None, parts)), "application/jsonl")
        return Stream(outcomes.stream(folder, wanted), file)

    def _operation(
        self, request: Request, principal: Principal
    ) -> tuple[OperationFolder, OperationRecord]:
        parent, operation_id = dataset_of(request), request.path_params["operation"]
        folder = OperationFolder(self._root, parent, operation_id)
        record = None
        # The id becomes a folder, so it must not have dots or slashes.
        if _is_plain(operation_id):
            with suppress(OperationNotFoundError):
                record = folder.read()
        names = [folder.name] if record is None else [folder.name, str(record.store)]
        principal.require(_GET_OPERATION, *names)
        if record is None:
            raise ApiError(NOT_FOUND, f"{folder.name} does not exist")
        return folder, self._reader.reconcile(folder, record)


def _has_problems(record: OperationRecord) -> bool:
    return record.counts.failures > 0 or record.outcome_counts.conflict > 0


def _is_plain(operation_id: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]{1,128}", operation_id) is not None
