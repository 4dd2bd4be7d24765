"""Downloads of an instance or a series: who may have which, and the form."""

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dicomferry.api.access import SEE_IMAGES, VIEW_PATIENT_DATA, Principal
from dicomferry.console.downloads import (
    MAX_INSTANCES,
    OFFERED,
    Downloads,
    Series,
    format_name,
    offered_format,
)
from dicomferry.console.queries import walk
from dicomferry.console.queries.slow import Query, SlowQueries
from dicomferry.console.requests import not_found, store_of, uids_of
from dicomferry.console.views.download import download_form
from dicomferry.console.views.layout import SECURITY_HEADERS
from dicomferry.console.views.markup import Html
from dicomferry.pixels.formats import PNG, Format
from dicomferry.storage.base import Storage


class DownloadPages:
    """Answers requests for files."""

    def __init__(self, root: Storage, queries: SlowQueries) -> None:
        """Send what is below a root."""
        self._root = root
        self._queries = queries
        self._downloads = Downloads()

    def instance(self, request: Request, principal: Principal) -> Response:
        """Send one instance."""
        form = offered_format(request.query_params.get("format", ""))
        store = store_of(self._root, request, principal, *permissions_for(form))
        uids = uids_of(request, "study", "series", "instance")
        rows = self._queries.get(Query(walk.one_instance, store.data, tuple(uids)))
        if not rows:
            raise not_found()
        if request.method == "HEAD":
            return _head()
        wanted = Series(store.data, uids[0], uids[1], rows)
        return self._downloads.instance(wanted, form, principal.name)

    def series(self, request: Request, principal: Principal) -> Response:
        """Send a series as a ZIP file."""
        form = offered_format(request.query_params.get("format", ""))
        store = store_of(self._root, request, principal, *permissions_for(form))
        study, series = uids_of(request, "study", "series")
        limit = MAX_INSTANCES + 1
        # Nothing is kept of a list that long.
        rows = self._queries.ask(Query(walk.first_instances, store.data, (study, series, limit)))
        if not rows:
            raise not_found()
        if request.method == "HEAD":
            return _head()
        wanted = Series(store.data, study, series, rows)
        return self._downloads.series(wanted, form, principal.name)


def _head() -> Response:
    """Return the answer to HEAD: what there is to download is not converted for it."""
    return StreamingResponse(iter(()), headers=SECURITY_HEADERS)


def permissions_for(form: Format) -> tuple[str, ...]:
    """Return what a download takes: files have names of patients, pictures have not."""
    return (SEE_IMAGES,) if form.media_type == PNG else (SEE_IMAGES, VIEW_PATIENT_DATA)


def form_for(path: str, principal: Principal, store: str) -> Html:
    """Return the form of a download with the formats that a principal may have."""
    may_view = principal.may(VIEW_PATIENT_DATA, store)
    offered = [(form, format_name(form)) for form in OFFERED if may_view or form.media_type == PNG]
    return download_form(f"{path}/download", offered, "" if may_view else VIEW_PATIENT_DATA)
