"""Routes of the console in a Starlette application, and the boundary around its pages."""

import importlib.resources
from collections.abc import Awaitable, Callable

from google.rpc.code_pb2 import FAILED_PRECONDITION, NOT_FOUND, UNAUTHENTICATED
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomferry.api.access import Principal
from dicomferry.api.dispatch import to_api_error
from dicomferry.api.errors import ApiError
from dicomferry.api.own_threads import OwnThreads
from dicomferry.console.change_pages import Call, ChangePages
from dicomferry.console.download_pages import DownloadPages
from dicomferry.console.downloads import AT_ONCE
from dicomferry.console.form_bodies import check_origin, read_form
from dicomferry.console.login import COOKIE, Authenticate, authorization, log_in, log_out, own_path
from dicomferry.console.operation_pages import OperationPages
from dicomferry.console.pages import Pages
from dicomferry.console.thumbnails import Pictures
from dicomferry.console.views import layout
from dicomferry.console.walk_pages import WalkPages
from dicomferry.jobs.elsewhere import OperationReader
from dicomferry.resource_names import ResourceNameError
from dicomferry.storage.base import Storage
from dicomferry.store.formats import StoreFormatError

_Page = Callable[[Request, Principal], Response]
_Form = Callable[[Request, Principal, dict[str, str]], Response]
_Endpoint = Callable[[Request], Awaitable[Response]]

_DATASET = "/console/projects/{project}/locations/{location}/datasets/{dataset}"
_STORE = _DATASET + "/dicomStores/{store}"
_STUDY = _STORE + "/studies/{study}"
_SERIES = _STUDY + "/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"
_PICTURE = _STORE + "/pictures/{study}/{series}/{instance}/{digest}"
_OPERATION = _DATASET + "/operations/{operation}"
_PAGES_AT_ONCE = 16
# One is drawn at a time; others are at hand.
_PICTURES_AT_ONCE = 4
_CHANGES_AT_ONCE = 4
# One query runs at a time, and each has a deadline.
_WALKS_AT_ONCE = 4
# Pages ask every two seconds; Dataflow updates the counters of a job about this often.
_ASK_DATAFLOW_SECONDS = 10.0
_ASSETS = {
    "style.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


def console_routes(root: Storage, authenticate: Authenticate, call: Call) -> list[Route]:
    """Return the routes of the console. What changes anything is a POST.

    Args:
        root: where stores are.
        authenticate: returns the principal of an Authorization header, or raises ApiError. A
            browser sends no such header, so its login is a cookie with the same token.
        call: calls a method of the API.
    """
    drawn, reader = Pictures(), OperationReader(_ASK_DATAFLOW_SECONDS)
    pages, walk = Pages(root, drawn, reader), WalkPages(root, drawn)
    jobs = OperationPages(root, reader)
    texts, pictures = OwnThreads(_PAGES_AT_ONCE), OwnThreads(_PICTURES_AT_ONCE)
    changes, changing = ChangePages(root, call), OwnThreads(_CHANGES_AT_ONCE)
    downloads = DownloadPages(root, walk.queries)
    walks, converted = OwnThreads(_WALKS_AT_ONCE), OwnThreads(AT_ONCE)

    def guarded(page: _Page, threads: OwnThreads = texts) -> _Endpoint:
        async def endpoint(request: Request) -> Response:
            try:
                return await threads.run(lambda: _answer(request, page, authenticate))
            except ApiError as error:
                return layout.error_page(error, None)

        return endpoint

    def posted(page: _Form) -> _Endpoint:
        async def endpoint(request: Request) -> Response:
            try:
                check_origin(request)
                fields = await read_form(request)
                return await changing.run(
                    lambda: _answer(
                        request, lambda asked, who: page(asked, who, fields), authenticate
                    )
                )
            except ApiError as error:
                return layout.error_page(error, None)

        return endpoint

    async def login(request: Request) -> Response:
        return await log_in(request, authenticate)

    return [
        Route("/", guarded(pages.index)),
        Route("/console/login", login, methods=["POST"]),
        Route("/console/logout", log_out, methods=["POST"]),
        *(Route(f"/console/{name}", _asset(name, kind)) for name, kind in _ASSETS.items()),
        Route(_STORE, guarded(pages.store)),
        Route(f"{_STORE}/preview", guarded(pages.preview)),
        Route(f"{_STORE}/import", guarded(changes.import_form)),
        Route(f"{_STORE}/import", posted(changes.start_import), methods=["POST"]),
        Route(f"{_STORE}/export", guarded(changes.export_form)),
        Route(f"{_STORE}/export", posted(changes.start_export), methods=["POST"]),
        Route(f"{_OPERATION}/cancel", guarded(changes.cancel_form)),
        Route(f"{_OPERATION}/cancel", posted(changes.cancel), methods=["POST"]),
        Route(f"{_STORE}/studies", guarded(walk.studies, walks)),
        Route(_STUDY, guarded(walk.study, walks)),
        Route(_SERIES, guarded(walk.series, walks)),
        Route(_INSTANCE, guarded(walk.instance, walks)),
        Route(f"{_SERIES}/download", guarded(downloads.series, converted)),
        Route(f"{_INSTANCE}/download", guarded(downloads.instance, converted)),
        Route(f"{_INSTANCE}/elements", guarded(walk.elements, walks)),
        Route(_PICTURE, guarded(pages.picture, pictures)),
        Route(_OPERATION, guarded(jobs.operation)),
        Route(f"{_OPERATION}/outcomes.jsonl", guarded(jobs.outcomes)),
        Route("/console/{rest:path}", guarded(_no_page)),
    ]


def _no_page(_: Request, __: Principal) -> Response:
    raise ApiError(NOT_FOUND, "There is no such page.")


def _answer(request: Request, page: _Page, authenticate: Authenticate) -> Response:
    """Return a page to a caller who has logged in; errors become pages, too."""
    principal = None
    try:
        principal = authenticate(authorization(request))
        return page(request, principal)
    except ApiError as error:
        if error.code == UNAUTHENTICATED:
            problem = error.message if COOKIE in request.cookies else ""
            return layout.login_page(own_path(_path_and_query(request)), problem)
        return layout.error_page(error, principal)
    except (StoreFormatError, ResourceNameError) as error:
        code = NOT_FOUND if isinstance(error, ResourceNameError) else FAILED_PRECONDITION
        return layout.error_page(ApiError(code, str(error)), principal)
    except Exception as error:  # the boundary: no text of it reaches a page or the log
        if isinstance(error, LookupError) and not isinstance(error, KeyError | IndexError):
            error = ApiError(NOT_FOUND, "It does not exist, or was deleted.")
            return layout.error_page(error, principal)
        return layout.error_page(to_api_error(error, "the console"), principal)


def _path_and_query(request: Request) -> str:
    # Not `request.url`: the Host header is in it, which can be anything.
    path, query = (request.scope[name].decode("latin-1") for name in ("raw_path", "query_string"))
    return f"{path}?{query}"


def _asset(name: str, kind: str) -> _Endpoint:
    content = importlib.resources.files("dicomferry.console").joinpath("static", name).read_bytes()
    headers = layout.SECURITY_HEADERS | {"Cache-Control": "no-cache"}

    async def endpoint(_: Request) -> Response:
        return Response(content, media_type=kind, headers=headers)

    return endpoint
