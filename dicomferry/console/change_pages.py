"""Pages that start and cancel jobs: a form, a page that asks whether to go on, and the call.

The call is that of the API, with the same checks, the same queue and the same lines in the log.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from google.longrunning import operations_pb2
from google.rpc.code_pb2 import FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_FOUND
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dicomferry.api.access import Principal
from dicomferry.api.access.permissions import METHOD_PERMISSIONS
from dicomferry.api.errors import ApiError
from dicomferry.api.proto.generated import dicom_service_pb2 as pb
from dicomferry.api.request_fields import operation_folder
from dicomferry.console.confirmations import Change, Confirmations
from dicomferry.console.downloads import format_name
from dicomferry.console.login import authorization
from dicomferry.console.requests import dataset_of, store_of
from dicomferry.console.views import layout
from dicomferry.console.views.changes import change_form, choice_field, confirm_form, text_field
from dicomferry.console.views.markup import Html, link
from dicomferry.operations.folder import OperationNotFoundError
from dicomferry.pixels.formats import DICOM, FORMATS, PNG
from dicomferry.storage.base import Storage
from dicomferry.tables.destination import kind_of

# Calls a method of the API: its name, its message, the Authorization of who asks.
Call = Callable[[str, Any, str | None], Any]
_TOKEN = "confirmation"
_IMPORT = "The server reads places that its administrator allows; each file becomes an instance."
_EXPORT = "The server writes to places that its administrator allows. The output has patient data."
_FORMAT_WORDS = {
    form.mime_type: format_name(form) if form.media_type in (DICOM, PNG) else form.mime_type
    for form in FORMATS
}


class ChangePages:
    """Answers requests for changes, of principals who may make them."""

    def __init__(self, root: Storage, call: Call) -> None:
        """Change what is below a root, by calls of the API."""
        self._root = root
        self._call = call
        self._confirmations = Confirmations()

    def import_form(self, request: Request, principal: Principal) -> Response:
        """Show the form of an import."""
        paths = self._store_paths(request, principal, "ImportDicomData")
        fields = [text_field("Files to import", "uri", "gs://bucket/folder/**")]
        return _shown("Import", change_form("Import", _IMPORT, paths, fields), principal)

    def start_import(
        self, request: Request, principal: Principal, fields: dict[str, str]
    ) -> Response:
        """Ask whether to import, or start what was confirmed."""
        paths = self._store_paths(request, principal, "ImportDicomData")
        uri = _required(fields, "uri", "the files to import")
        facts = [("Into", paths[2]), ("Files", uri)]
        name = paths[1].removeprefix("/console/")
        message = pb.ImportDicomDataRequest(name=name, gcs_source=pb.GcsSource(uri=uri))

        def ask(hidden: dict[str, str]) -> Html:
            return confirm_form("Import these files?", facts, paths, hidden, "Start the import")

        call = ("ImportDicomData", message)
        return self._confirmed(request, principal, fields, ask, call)

    def export_form(self, request: Request, principal: Principal) -> Response:
        """Show the form of an export."""
        paths = self._store_paths(request, principal, "ExportDicomData")
        fields = [
            text_field("Folder or table to write to", "destination", "gs://bucket/folder"),
            choice_field("Format of files", "format", [*_FORMAT_WORDS.items()]),
            text_field(
                "Filter file (optional)", "filter", "gs://bucket/filter.txt", required=False
            ),
        ]
        return _shown("Export", change_form("Export", _EXPORT, paths, fields), principal)

    def start_export(
        self, request: Request, principal: Principal, fields: dict[str, str]
    ) -> Response:
        """Ask whether to export, or start what was confirmed."""
        paths = self._store_paths(request, principal, "ExportDicomData")
        destination = _required(fields, "destination", "where to export to")
        message = pb.ExportDicomDataRequest(name=paths[1].removeprefix("/console/"))
        facts = [("From", paths[2]), ("To", destination)]
        if kind_of(destination):
            message.bigquery_destination.table_uri = destination
        else:
            message.gcs_destination.uri_prefix = destination
            message.gcs_destination.mime_type = fields.get("format", "")
            facts.append(("Format", _FORMAT_WORDS.get(fields.get("format", ""), "")))
        if path := fields.get("filter"):
            message.filter_config.resource_paths_gcs_uri = path
            facts.append(("Filter", path))

        def ask(hidden: dict[str, str]) -> Html:
            return confirm_form("Export the store?", facts, paths, hidden, "Start the export")

        call = ("ExportDicomData", message)
        return self._confirmed(request, principal, fields, ask, call)

    def cancel_form(self, request: Request, principal: Principal) -> Response:
        """Ask whether to cancel an operation."""
        return self.cancel(request, principal, {})

    def cancel(self, request: Request, principal: Principal, fields: dict[str, str]) -> Response:
        """Ask whether to cancel an operation, or do what was confirmed."""
        name = f"{dataset_of(request)}/operations/{request.path_params['operation']}"
        permission = METHOD_PERMISSIONS["CancelOperation"]
        record = None
        with suppress(OperationNotFoundError, ApiError):
            record = operation_folder(self._root, name).read()
        principal.require(permission, name, *([str(record.store)] if record else []))
        if record is None:
            raise ApiError(NOT_FOUND, f"{name} does not exist")
        if record.done:
            raise ApiError(FAILED_PRECONDITION, f"Operation {record.id} has ended already.")
        paths = (f"/console/{name}/cancel", f"/console/{name}", record.id)
        facts = [("Operation", record.id), ("Store", str(record.store))]

        def ask(hidden: dict[str, str]) -> Html:
            title = f"Cancel this {record.metadata.method.verb.lower()}?"
            return confirm_form(title, facts, paths, hidden, "Cancel the operation")

        call = ("CancelOperation", operations_pb2.CancelOperationRequest(name=name))
        return self._confirmed(request, principal, fields, ask, call)

    def _confirmed(
        self,
        request: Request,
        principal: Principal,
        fields: dict[str, str],
        ask: Callable[[dict[str, str]], Html],
        call: tuple[str, Any],
    ) -> Response:
        """Ask whether to go on; if that was confirmed, call the API and lead to the operation."""
        token = fields.pop(_TOKEN, "")
        sender = authorization(request)
        change = Change(sender, request.url.path, fields)
        if not token:
            hidden = {**fields, _TOKEN: self._confirmations.make(change)}
            return _shown("Confirm", ask(hidden), principal)

        def act() -> str:
            answer = self._call(*call, sender)
            return str(getattr(answer, "name", "")) or str(call[1].name)

        name = self._confirmations.act(token, change, act)
        where = f"/console/{name or dataset_of(request)}" if name else "/"
        return RedirectResponse(link(where), 303, layout.SECURITY_HEADERS)

    def _store_paths(
        self, request: Request, principal: Principal, method: str
    ) -> tuple[str, str, str]:
        store = store_of(self._root, request, principal, METHOD_PERMISSIONS[method])
        path = f"/console/{store.name}"
        verb = "import" if method == "ImportDicomData" else "export"
        return f"{path}/{verb}", path, store.name.id


def _required(fields: dict[str, str], name: str, words: str) -> str:
    if not fields.get(name):
        raise ApiError(INVALID_ARGUMENT, f"Name {words}.")
    return fields[name]


def _shown(title: str, body: Html, principal: Principal) -> Response:
    return layout.page(title, body, principal)
