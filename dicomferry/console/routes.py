"""The console's pages as routes of a Starlette application."""

import importlib.resources
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

from google.rpc.code_pb2 import NOT_FOUND, UNAUTHENTICATED
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dicomferry.api.access import Principal
from dicomferry.api.dispatch import to_api_error
from dicomferry.api.errors import ApiError
from dicomferry.console import thumbnails
from dicomferry.console.login import COOKIE, Authenticate, authorization, log_in, log_out, own_path
from dicomferry.console.metrics_cache import MetricsCache
from dicomferry.console.queries import outcomes, stores
from dicomferry.console.queries.series import page_of_series
from dicomferry.console.views import layout
from dicomferry.console.views.markup import html
from dicomferry.console.views.operations import (
    operation_section,
    operations_section,
    outcomes_section,
)
from dicomferry.console.views.stores import (
    datasets_nav,
    pictures_body,
    store_body,
    store_path,
    stores_section,
)
from dicomferry.jobs.dataflow import OperationReader
from dicomferry.operations.folder import OperationFolder, OperationNotFoundError
from dicomferry.operations.outcomes import PROBLEMS, OutcomeCounts
from dicomferry.operations.record import OperationRecord
from dicomferry.resource_names import (
    DatasetName,
    ResourceNameError,
    StoreName,
    parse_dataset,
    parse_store,
)
from dicomferry.storage.base import Storage
from dicomferry.store.dicom_store import DicomStore, get_store

_Answer = Callable[[Request, Principal], Response]

_DATASET = "/console/projects/{project}/locations/{location}/datasets/{dataset}"
_STORE = _DATASET + "/dicomStores/{store}"
_OPERATION = _DATASET + "/operations/{operation}"
_GET_STORE = "healthcare.dicomStores.get"
_SEE_IMAGES = "healthcare.dicomStores.dicomWebRead"
_GET_OPERATION = "healthcare.operations.get"
_ASSETS = {
    "style.css": "text/css",
    "live.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
# How long a page waits for the metrics of its stores before it shows those that are known.
_COUNT_SECONDS = 1.5
_NO_SCRIPT_SECONDS = 5
# Pages look every two seconds; Dataflow counts its jobs' progress about as rarely as this.
_ASK_DATAFLOW_SECONDS = 10.0


def console_routes(root: Storage, authenticate: Authenticate) -> list[Route]:
    """The routes of the console; none of them changes anything but the login.

    Args:
        root: where stores live.
        authenticate: returns who sends an Authorization header, or raises ApiError; a browser has
            none, so its login is a cookie with the same token.
    """
    console = _Console(root)

    def guarded(answer: _Answer) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(_answer, request, answer, authenticate)

        return endpoint

    async def login(request: Request) -> Response:
        return await log_in(request, authenticate)

    return [
        Route("/", guarded(console.index)),
        Route("/console/login", login, methods=["POST"]),
        Route("/console/logout", log_out, methods=["POST"]),
        *(Route(f"/console/{name}", _asset(name, kind)) for name, kind in _ASSETS.items()),
        Route(_STORE, guarded(console.store)),
        Route(f"{_STORE}/preview", guarded(console.preview)),
        Route(
            f"{_STORE}/pictures/{{study}}/{{series}}/{{instance}}/{{digest}}",
            guarded(console.picture),
        ),
        Route(_OPERATION, guarded(console.operation)),
        Route(f"{_OPERATION}/outcomes.jsonl", guarded(console.outcomes)),
    ]


class _Console:
    def __init__(self, root: Storage) -> None:
        self._root = root
        self._reader = OperationReader(_ASK_DATAFLOW_SECONDS)
        self._metrics = MetricsCache()
        self._pictures = thumbnails.Pictures()

    def index(self, request: Request, principal: Principal) -> Response:
        """The stores and newest operations of a dataset."""
        asked = request.query_params
        names = stores.datasets(self._root, principal)
        parent = names[0] if names else DatasetName()
        if asked.get("dataset"):
            parent = parse_dataset(asked["dataset"])
        part, after, before = (asked.get(name, "") for name in ("part", "after", "before"))
        pieces, running = [datasets_nav(names, parent)], False
        if part != "operations":
            found = stores.page_of_stores(self._root, parent, principal, after)
            metrics = self._metrics.get(found.stores, _COUNT_SECONDS)
            running = None in metrics.values()
            pieces.append(stores_section(parent, found, metrics, after))
        if part != "stores":
            newest = stores.page_of_operations(self._root, parent, principal, before, self._reader)
            query = {"dataset": str(parent), "before": before}
            running |= any(not record.done for record in newest.operations)
            pieces.append(operations_section(newest, "/", query))
        if part in ("stores", "operations"):
            return layout.fragment(pieces[-1])
        body = html("{nav}{stores}{operations}", **dict(zip(_PIECES, pieces, strict=True)))
        refresh = _NO_SCRIPT_SECONDS if running else 0
        return layout.page("Stores and operations", body, principal, refresh_seconds=refresh)

    def store(self, request: Request, principal: Principal) -> Response:
        """One store with its operations."""
        store = self._store(request, principal, _GET_STORE)
        before = request.query_params.get("before", "")
        found = stores.page_of_operations(
            self._root, store.name.parent, principal, before, self._reader, str(store.name)
        )
        section = operations_section(found, store_path(store), {"before": before})
        if request.query_params.get("part") == "operations":
            return layout.fragment(section)
        metrics = self._metrics.get([store], _COUNT_SECONDS)[str(store.name)]
        body = html("{store}{operations}", store=store_body(store, metrics), operations=section)
        running = metrics is None or any(not record.done for record in found.operations)
        refresh = _NO_SCRIPT_SECONDS if running else 0
        return layout.page(store.name.id, body, principal, refresh_seconds=refresh)

    def preview(self, request: Request, principal: Principal) -> Response:
        """A page of a store's series."""
        store = self._store(request, principal, _SEE_IMAGES)
        self._pictures.warm()
        after = request.query_params.get("after", "")
        found = page_of_series(store.data, after)
        metrics = self._metrics.get([store], _COUNT_SECONDS)[str(store.name)]
        body = pictures_body(store, found, metrics, is_first=not after)
        return layout.page(f"Pictures of {store.name.id}", body, principal)

    def picture(self, request: Request, principal: Principal) -> Response:
        """The picture of one instance."""
        store = self._store(request, principal, _SEE_IMAGES)
        names = ("study", "series", "instance", "digest")
        blob = thumbnails.blob_of(*(request.path_params[name] for name in names))
        entry = store.data.head(blob) if blob else None
        if blob is None or entry is None:
            raise ApiError(NOT_FOUND, "there is no such instance in the store")
        image, mime_type = thumbnails.to_image(self._pictures.get(store.data, blob, entry.size))
        return Response(image, media_type=mime_type, headers=layout.SECURITY_HEADERS)

    def operation(self, request: Request, principal: Principal) -> Response:
        """One operation and a page of its outcomes."""
        folder, record = self._operation(request, principal)
        asked = request.query_params
        section = operation_section(record)
        if asked.get("part") == "operation":
            return layout.fragment(section)
        outcome, after = outcomes.check_outcome(asked.get("outcome", "")), asked.get("after", "")
        found = outcomes.page_of_outcomes(folder, outcome, after)
        why = None
        if not after and outcome in ("", *PROBLEMS):
            why = outcomes.reasons(folder, outcome) if _has_problems(record) else None
        listed = outcomes_section(record, found, why, outcome, is_first=not after)
        body = html("{operation}{outcomes}", operation=section, outcomes=listed)
        refresh = 0 if record.done else _NO_SCRIPT_SECONDS
        return layout.page(f"Operation {folder.id}", body, principal, refresh_seconds=refresh)

    def outcomes(self, request: Request, principal: Principal) -> Response:
        """The outcomes as they were written, to download."""
        folder, _ = self._operation(request, principal)
        outcome = outcomes.check_outcome(request.query_params.get("outcome", ""))
        name = "-".join(filter(None, [folder.id, outcome, "outcomes.jsonl"]))
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(
            outcomes.stream(folder, outcome),
            media_type="application/jsonl",
            headers=layout.SECURITY_HEADERS | disposition,
        )

    def _store(self, request: Request, principal: Principal, permission: str) -> DicomStore:
        name = parse_store(str(StoreName(_parent(request), request.path_params["store"])))
        principal.require(permission, str(name))
        return get_store(self._root, name)

    def _operation(
        self, request: Request, principal: Principal
    ) -> tuple[OperationFolder, OperationRecord]:
        parent, operation_id = _parent(request), request.path_params["operation"]
        folder = OperationFolder(self._root, parent, operation_id)
        name = folder.name
        record = None
        # The id becomes a folder: it must not mean another one.
        if _is_plain(operation_id):
            with suppress(OperationNotFoundError):
                record = folder.read()
        names = [name] if record is None else [name, str(record.store)]
        principal.require(_GET_OPERATION, *names)
        if record is None:
            raise ApiError(NOT_FOUND, f"{name} does not exist")
        return folder, self._reader.reconcile(folder, record)


_PIECES = ("nav", "stores", "operations")


def _answer(request: Request, answer: _Answer, authenticate: Authenticate) -> Response:
    """Answer whoever may ask; what is refused or missing becomes a page."""
    principal = None
    try:
        principal = authenticate(authorization(request))
        return answer(request, principal)
    except ApiError as error:
        if error.code == UNAUTHENTICATED:
            said = error.message if COOKIE in request.cookies else ""
            return layout.login_page(own_path(_asked(request)), said)
        return layout.error_page(error, principal)
    except ResourceNameError as error:
        return layout.error_page(ApiError(NOT_FOUND, str(error)), principal)
    except Exception as error:  # the boundary: no text of it reaches a page or the log
        if isinstance(error, LookupError) and not isinstance(error, KeyError | IndexError):
            error = ApiError(NOT_FOUND, "It does not exist, or no more.")
            return layout.error_page(error, principal)
        return layout.error_page(to_api_error(error, "the console"), principal)


def _asked(request: Request) -> str:
    # Not `request.url`: the Host header is in it, which can be anything.
    path, query = (request.scope[name].decode("latin-1") for name in ("raw_path", "query_string"))
    return f"{path}?{query}"


def _asset(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = importlib.resources.files("dicomferry.console").joinpath("static", name).read_bytes()
    headers = layout.SECURITY_HEADERS | {"Cache-Control": "no-cache"}

    async def endpoint(_: Request) -> Response:
        return Response(content, media_type=kind, headers=headers)

    return endpoint


def _parent(request: Request) -> DatasetName:
    values = (request.path_params[name] for name in ("project", "location", "dataset"))
    return parse_dataset(str(DatasetName(*values)))


def _has_problems(record: OperationRecord) -> bool:
    counts = record.counts
    return counts.failures > 0 or (isinstance(counts, OutcomeCounts) and counts.conflict > 0)


def _is_plain(operation_id: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_-]{1,128}", operation_id) is not None
