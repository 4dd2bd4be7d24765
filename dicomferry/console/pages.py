"""Pages of the console: functions of a request and its sender that return a response."""

import re
from contextlib import suppress

from google.rpc.code_pb2 import NOT_FOUND
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dicomferry.api.access import SEE_IMAGES, Principal
from dicomferry.api.errors import ApiError
from dicomferry.console import thumbnails
from dicomferry.console.metrics_cache import MetricsCache
from dicomferry.console.queries import outcomes, stores
from dicomferry.console.queries.series import page_of_series
from dicomferry.console.queries.slow import Query, SlowQueries
from dicomferry.console.queries.stores import OperationsQuery
from dicomferry.console.queries.survey import survey
from dicomferry.console.requests import dataset_of, store_of
from dicomferry.console.views import layout
from dicomferry.console.views.charts import charts_section
from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.console.views.operations import operation_section, operations_section
from dicomferry.console.views.outcomes import outcomes_section
from dicomferry.console.views.stores import (
    datasets_nav,
    pictures_body,
    store_body,
    store_path,
    stores_section,
)
from dicomferry.jobs.elsewhere import OperationReader
from dicomferry.operations.folder import OperationFolder, OperationNotFoundError
from dicomferry.operations.outcomes import PROBLEMS
from dicomferry.operations.record import OperationRecord
from dicomferry.resource_names import DatasetName, parse_dataset
from dicomferry.storage.base import Storage
from dicomferry.store.dicom_store import DicomStore
from dicomferry.store.index import Index

_INDEX = "Stores and operations"
_GET_STORE = "healthcare.dicomStores.get"
_GET_OPERATION = "healthcare.operations.get"
# How long a page waits for the metrics of its stores before it shows those that are known.
_COUNT_SECONDS = 1.5
_NO_SCRIPT_SECONDS = 5
# A store that takes longer has no charts.
_SURVEY_SECONDS = 60.0
# Pages ask every two seconds; Dataflow updates the counters of a job about this often.
_ASK_DATAFLOW_SECONDS = 10.0


class Pages:
    """Answers requests for pages, of principals who have logged in."""

    def __init__(self, root: Storage, pictures: thumbnails.Pictures) -> None:
        """Show the stores below a root."""
        self._root = root
        self._reader = OperationReader(_ASK_DATAFLOW_SECONDS)
        self._metrics = MetricsCache()
        self._surveys = SlowQueries(_SURVEY_SECONDS)
        self._pictures = pictures

    def index(self, request: Request, principal: Principal) -> Response:
        """Show the stores and newest operations of a dataset."""
        query = request.query_params
        names = stores.datasets(self._root, principal)
        parent = names[0] if names else DatasetName()
        if query.get("dataset"):
            parent = parse_dataset(query["dataset"])
        part = query.get("part", "")
        if part == "stores":
            return layout.fragment(self._stores_section(request, parent, principal)[0])
        if part == "operations":
            return layout.fragment(self._operations_section(request, parent, principal)[0])
        store_cards, is_counting = self._stores_section(request, parent, principal)
        rows, is_running = self._operations_section(request, parent, principal)
        nav = datasets_nav(names, parent)
        heading = html("<h1>{title}</h1>", title=_INDEX)
        body = join([heading, nav, store_cards, rows])
        refresh = _NO_SCRIPT_SECONDS if is_counting or is_running else 0
        return layout.page(_INDEX, body, principal, refresh_seconds=refresh)

    def _stores_section(
        self, request: Request, parent: DatasetName, principal: Principal
    ) -> tuple[Html, bool]:
        """Return the stores of a dataset, and whether some are still being counted."""
        after = request.query_params.get("after", "")
        page = stores.page_of_stores(self._root, parent, principal, after)
        metrics = self._metrics.get(page.stores, _COUNT_SECONDS)
        return stores_section(parent, page, metrics, after), None in metrics.values()

    def _operations_section(
        self, request: Request, parent: DatasetName, principal: Principal
    ) -> tuple[Html, bool]:
        """Return the operations of a dataset, and whether some are running."""
        before = request.query_params.get("before", "")
        wanted = OperationsQuery(parent, before)
        page = stores.page_of_operations(self._root, wanted, principal, self._reader)
        query = {"dataset": str(parent), "before": before}
        return operations_section(page, "/", query), page.is_running

    def store(self, request: Request, principal: Principal) -> Response:
        """Show one store with its operations."""
        store = store_of(self._root, request, principal, _GET_STORE)
        before = request.query_params.get("before", "")
        wanted = OperationsQuery(store.name.parent, before, store.name)
        page = stores.page_of_operations(self._root, wanted, principal, self._reader)
        section = operations_section(page, store_path(store), {"before": before})
        if request.query_params.get("part") == "operations":
            return layout.fragment(section)
        charts, is_known = self._charts(store)
        if request.query_params.get("part") == "charts":
            return layout.fragment(charts)
        metrics = self._metrics.get([store], _COUNT_SECONDS)[str(store.name)]
        body = join([store_body(store, metrics), charts, section])
        is_counting = metrics is None or not is_known
        refresh = _NO_SCRIPT_SECONDS if is_counting or page.is_running else 0
        return layout.page(store.name.id, body, principal, refresh_seconds=refresh)

    def _charts(self, store: DicomStore) -> tuple[Html, bool]:
        """Return the charts of a store, and whether what they show is known by now."""
        is_known, counted = self._surveys.soon(Query(survey, store.data), _COUNT_SECONDS)
        href = link(store_path(store), part="charts")
        count = Index(store.data).count()
        return charts_section(counted, is_known=is_known, count=count, href=href), is_known

    def preview(self, request: Request, principal: Principal) -> Response:
        """Show a page of a store's series."""
        store = store_of(self._root, request, principal, SEE_IMAGES)
        self._pictures.warm()
        after = request.query_params.get("after", "")
        page = page_of_series(store.data, after)
        metrics = self._metrics.get([store], _COUNT_SECONDS)[str(store.name)]
        body = pictures_body(store, page, metrics, is_first=not after)
        return layout.page(f"Pictures of {store.name.id}", body, principal)

    def picture(self, request: Request, principal: Principal) -> Response:
        """Return the picture of one instance."""
        store = store_of(self._root, request, principal, SEE_IMAGES)
        names = ("study", "series", "instance", "digest")
        blob = thumbnails.blob_of(*(request.path_params[name] for name in names))
        entry = store.data.head(blob) if blob else None
        if blob is None or entry is None:
            raise ApiError(NOT_FOUND, "there is no such instance in the store")
        image, mime_type = thumbnails.to_image(self._pictures.get(store.data, blob, entry.size))
        return Response(image, media_type=mime_type, headers=layout.SECURITY_HEADERS)

    def operation(self, request: Request, principal: Principal) -> Response:
        """Show one operation and a page of its outcomes."""
        folder, record = self._operation(request, principal)
        query = request.query_params
        section = operation_section(record)
        if query.get("part") == "operation":
            return layout.fragment(section)
        outcome, after = outcomes.check_outcome(query.get("outcome", "")), query.get("after", "")
        page = outcomes.page_of_outcomes(folder, outcome, after)
        why = None
        if not after and outcome in ("", *PROBLEMS):
            why = outcomes.reasons(folder, outcome) if _has_problems(record) else None
        listed = outcomes_section(record, page, why, outcome, is_first=not after)
        body = html("{operation}{outcomes}", operation=section, outcomes=listed)
        refresh = 0 if record.done else _NO_SCRIPT_SECONDS
        return layout.page(f"Operation {folder.id}", body, principal, refresh_seconds=refresh)

    def outcomes(self, request: Request, principal: Principal) -> Response:
        """Return the outcomes as they were written, to download."""
        folder, _ = self._operation(request, principal)
        outcome = outcomes.check_outcome(request.query_params.get("outcome", ""))
        name = "-".join(filter(None, [folder.id, outcome, "outcomes.jsonl"]))
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(
            outcomes.stream(folder, outcome),
            media_type="application/jsonl",
            headers=layout.SECURITY_HEADERS | disposition,
        )

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
