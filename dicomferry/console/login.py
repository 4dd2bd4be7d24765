"""Login of the console: browsers send no Authorization header, so a cookie has the token."""

from collections.abc import Callable
from urllib.parse import urlsplit

from google.rpc.code_pb2 import UNAUTHENTICATED
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from dicomferry.api.access import Principal
from dicomferry.api.errors import ApiError
from dicomferry.console.form_bodies import check_origin, read_form
from dicomferry.console.views import layout

COOKIE = "dicomferry_token"
# A browser drops larger cookies without a word (RFC 6265, section 6.1: 4,096 bytes with the rest).
_MAX_COOKIE = 3800

Authenticate = Callable[[str | None], Principal]


def authorization(request: Request) -> str | None:
    """Return the Authorization header of a program, or that of a browser's login."""
    if token := request.cookies.get(COOKIE):
        return f"Bearer {token}"
    return request.headers.get("Authorization")


async def log_in(request: Request, authenticate: Authenticate) -> Response:
    """Set a cookie with the token from the form, and redirect to the page that was requested."""
    try:
        check_origin(request)
        fields = await read_form(request)
    except ApiError as error:
        return layout.error_page(error, None)
    token = fields.get("token", "")
    after = own_path(fields.get("next", "/"))
    if len(token) > _MAX_COOKIE:
        return layout.login_page(
            after,
            "browsers cannot keep a token of more than 3,800 characters: log in with one that "
            "names fewer groups",
        )
    try:
        await run_in_threadpool(authenticate, f"Bearer {token}")
    except ApiError as error:
        if error.code == UNAUTHENTICATED:
            return layout.login_page(after, error.message)
        return layout.error_page(error, None)
    response = RedirectResponse(after, 303, layout.SECURITY_HEADERS)
    # Strict: browsers do not send it with requests from other sites. HttpOnly: hidden from scripts.
    is_secure = _came_by_tls(request)
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=is_secure)
    return response


async def log_out(request: Request) -> Response:
    """Delete the cookie, and redirect to the start page."""
    try:
        check_origin(request)
    except ApiError as error:
        return layout.error_page(error, None)
    response = RedirectResponse("/", 303, layout.SECURITY_HEADERS)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _came_by_tls(request: Request) -> bool:
    """Whether the browser's own connection is TLS, as far as any proxy says so.

    A caller who lies here only keeps a cookie from being sent without TLS.
    """
    forwarded = request.headers.get("Forwarded", "").lower().replace('"', "").replace(" ", "")
    by_proxy = request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower()
    return "https" in (request.url.scheme, by_proxy) or "proto=https" in forwarded


def own_path(url: str) -> str:
    """Return the path and query of a URL, so that a redirect stays on this server."""
    try:
        parts = urlsplit(url.replace("\\", "/"))
    except ValueError:  # brackets without an address
        return "/"
    path = "/" + parts.path.lstrip("/")
    return f"{path}?{parts.query}" if parts.query else path
