"""Pages of a store's studies, series and instances."""

from starlette.requests import Request
from starlette.responses import Response

from dicomferry.api.access import SEE_IMAGES, VIEW_PATIENT_DATA, Principal
from dicomferry.console.download_pages import form_for
from dicomferry.console.queries import walk
from dicomferry.console.queries.element_list import elements_of
from dicomferry.console.queries.slow import Query, SlowQueries
from dicomferry.console.requests import not_found, store_of, uids_of
from dicomferry.console.thumbnails import Pictures
from dicomferry.console.views import layout
from dicomferry.console.views.element_list import elements_table
from dicomferry.console.views.markup import html, join, link
from dicomferry.console.views.stores import store_path
from dicomferry.console.views.walk import (
    instance_body,
    instance_crumbs,
    series_body,
    studies_body,
    study_body,
    walk_body,
)
from dicomferry.storage.base import Storage

_SECONDS = 20.0
_ELEMENTS = '<p class="links"><a href="{href}">Elements, with patient data</a></p>'


class WalkPages:
    """Answers requests for what a store has, one page of UIDs after the other.

    Attributes:
        queries: which read indexes.
    """

    def __init__(self, root: Storage, pictures: Pictures) -> None:
        """Show the stores below a root."""
        self._root = root
        self._pictures = pictures
        self.queries = SlowQueries(_SECONDS)

    def studies(self, request: Request, principal: Principal) -> Response:
        """Show a page of a store's studies."""
        store = store_of(self._root, request, principal, SEE_IMAGES)
        after = request.query_params.get("after", "")
        page = self.queries.get(Query(walk.studies, store.data, (after,)))
        body = studies_body(store, page, is_first=not after)
        return layout.page(f"Studies of {store.name.id}", body, principal)

    def study(self, request: Request, principal: Principal) -> Response:
        """Show a page of a study's series."""
        store = store_of(self._root, request, principal, SEE_IMAGES)
        [study] = uids_of(request, "study")
        self._pictures.warm()
        after = request.query_params.get("after", "")
        page = self.queries.get(Query(walk.series_of_study, store.data, (study, after)))
        if not page.rows and not after:
            raise not_found()
        body = study_body(store, study, page, is_first=not after)
        return layout.page(f"Study {study}", body, principal)

    def series(self, request: Request, principal: Principal) -> Response:
        """Show a page of a series' instances."""
        store = store_of(self._root, request, principal, SEE_IMAGES)
        uids = uids_of(request, "study", "series")
        after = request.query_params.get("after", "")
        page = self.queries.get(Query(walk.instances_of_series, store.data, (*uids, after)))
        if not page.rows and not after:
            raise not_found()
        path = f"{store_path(store)}/studies/{uids[0]}/series/{uids[1]}"
        form = form_for(path, principal, str(store.name))
        body = series_body(store, uids, page, form, is_first=not after)
        return layout.page(f"Series {uids[-1]}", body, principal)

    def instance(self, request: Request, principal: Principal) -> Response:
        """Show one instance."""
        store = store_of(self._root, request, principal, SEE_IMAGES)
        uids = uids_of(request, "study", "series", "instance")
        found = self.queries.get(Query(walk.one_instance, store.data, tuple(uids)))
        if not found:
            raise not_found()
        self._pictures.warm()
        [(path, _)] = instance_crumbs(store, uids)[-1:]
        elements = html(_ELEMENTS, href=link(f"{path}/elements"))
        may_view = principal.may(VIEW_PATIENT_DATA, str(store.name))
        actions = [elements] if may_view else []
        actions.append(form_for(path, principal, str(store.name)))
        body = instance_body(store, uids, found[0], join(actions))
        return layout.page(f"Instance {uids[-1]}", body, principal)

    def elements(self, request: Request, principal: Principal) -> Response:
        """Show the elements of an instance: patient data."""
        store = store_of(self._root, request, principal, SEE_IMAGES, VIEW_PATIENT_DATA)
        uids = uids_of(request, "study", "series", "instance")
        found = self.queries.ask(Query(elements_of, store.data, tuple(uids)))
        if not found:
            raise not_found()
        title = ("Elements", uids[-1])
        body = walk_body(instance_crumbs(store, uids), title, elements_table(found[0]))
        return layout.page(f"Elements of {uids[-1]}", body, principal)
