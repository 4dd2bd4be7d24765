"""Pages of the console: functions of a request and its sender that return a response."""

from google.rpc.code_pb2 import NOT_FOUND
from starlette.requests import Request
from starlette.responses import Response

from dicomferry.api.access import SEE_IMAGES, Principal
from dicomferry.api.errors import ApiError
from dicomferry.console import thumbnails
from dicomferry.console.metrics_cache import MetricsCache
from dicomferry.console.queries import operations, stores
from dicomferry.console.queries.operations import OperationsQuery
from dicomferry.console.queries.series import page_of_series
from dicomferry.console.queries.slow import Query, SlowQueries
from dicomferry.console.queries.survey import survey
from dicomferry.console.requests import store_of
from dicomferry.console.views import layout
from dicomferry.console.views.charts import charts_section
from dicomferry.console.views.markup import Html, html, join, link
from dicomferry.console.views.operations import operations_filter, operations_section
from dicomferry.console.views.stores import (
    datasets_nav,
    pictures_body,
    store_body,
    store_path,
    stores_section,
)
from dicomferry.jobs.elsewhere import OperationReader
from dicomferry.resource_names import DatasetName, StoreName, parse_dataset
from dicomferry.storage.base import Storage
from dicomferry.store.dicom_store import DicomStore
from dicomferry.store.index import Index

_INDEX = "Stores and operations"
_GET_STORE = "healthcare.dicomStores.get"
# How long a page waits for the metrics of its stores before it shows those that are known.
_COUNT_SECONDS = 1.5
_NO_SCRIPT_SECONDS = 5
# A store that takes longer has no charts.
_SURVEY_SECONDS = 60.0


class Pages:
    """Answers requests for pages, of principals who have logged in."""

    def __init__(
        self, root: Storage, pictures: thumbnails.Pictures, reader: OperationReader
    ) -> None:
        """Show the stores below a root."""
        self._root = root
        self._reader = reader
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
            return layout.fragment(self._operations(request, parent, principal)[1])
        store_cards, is_counting = self._stores_section(request, parent, principal)
        head, rows, is_running = self._operations(request, parent, principal)
        nav = datasets_nav(names, parent)
        heading = html("<h1>{title}</h1>", title=_INDEX)
        body = join([heading, nav, store_cards, head, rows])
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

    def store(self, request: Request, principal: Principal) -> Response:
        """Show one store with its operations."""
        store = store_of(self._root, request, principal, _GET_STORE)
        head, section, is_running = self._operations(request, store.name, principal)
        if request.query_params.get("part") == "operations":
            return layout.fragment(section)
        charts, is_known = self._charts(store)
        if request.query_params.get("part") == "charts":
            return layout.fragment(charts)
        metrics = self._metrics.get([store], _COUNT_SECONDS)[str(store.name)]
        changes = [
            verb
            for verb in ("import", "export")
            if principal.may(f"healthcare.dicomStores.{verb}", str(store.name))
        ]
        body = join([store_body(store, metrics, changes), charts, head, section])
        is_counting = metrics is None or not is_known
        refresh = _NO_SCRIPT_SECONDS if is_counting or is_running else 0
        return layout.page(store.name.id, body, principal, refresh_seconds=refresh)

    def _charts(self, store: DicomStore) -> tuple[Html, bool]:
        """Return the charts of a store, and whether what they show is known by now."""
        is_known, counted = self._surveys.soon(Query(survey, store.data), _COUNT_SECONDS)
        href = link(store_path(store), part="charts")
        count = Index(store.data).count()
        return charts_section(counted, is_known=is_known, count=count, href=href), is_known

    def _operations(
        self, request: Request, of: DatasetName | StoreName, principal: Principal
    ) -> tuple[Html, Html, bool]:
        """Return what is above operations, a page of them, and whether some are running.

        Args:
            request: for a page of a dataset or of a store.
            of: the dataset or the store.
            principal: who asks.
        """
        before = request.query_params.get("before", "")
        wanted = operations.check_filter(request.query_params)
        if isinstance(of, StoreName):
            path, kept, query = f"/console/{of}", {}, OperationsQuery(of.parent, before, of, wanted)
        else:
            path, kept = "/", {"dataset": str(of)}
            query = OperationsQuery(of, before, wanted=wanted)
        page = operations.page_of_operations(self._root, query, principal, self._reader)
        head = operations_filter(page, wanted, path, kept)
        section = operations_section(page, path, {**kept, **wanted.query(), "before": before})
        return head, section, page.is_running

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
