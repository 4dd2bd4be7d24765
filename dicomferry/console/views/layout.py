"""Frame of every page, the login page and error pages."""

from google.rpc.code_pb2 import (
    FAILED_PRECONDITION,
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    UNAUTHENTICATED,
)
from starlette.responses import HTMLResponse

from dicomferry.api.access import ANYONE, Principal
from dicomferry.api.errors import ApiError
from dicomferry.console.views.markup import Html, html, join, prose

# Only the server's own style sheet, script and pictures; no other site can frame a page.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer, browsers send their own forms with "Origin: null", as those of other sites.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Contents of a store must not stay in a browser's cache.
    "Cache-Control": "no-store",
}
_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · dicomferry</title>
<link rel="icon" href="/console/icon.svg">
<link rel="stylesheet" href="/console/style.css">
<script src="/console/page.js" defer></script>{refresh}
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header><a class="brand" href="/">dicomferry</a>{who}</header>
<main id="main" tabindex="-1">{body}</main>
</body>
</html>
"""
_REFRESH = '\n<noscript><meta http-equiv="refresh" content="{seconds}"></noscript>'
_WHO = """<form class="who" method="post" action="/console/logout">
<span>{name}</span><button>Log out</button></form>"""
_LOGIN = """<section class="login">
<h1>Log in</h1>
<p>Enter the token that you got from this server's administrator.</p>
{problem}<form method="post" action="/console/login">
<input type="hidden" name="next" value="{next}">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button>
</form>
</section>"""
_ERROR = """<section class="notice"><h1>{heading}</h1><p>{message}</p>
<p><a href="/">All stores and operations</a></p></section>"""
_HEADINGS = {
    NOT_FOUND: (404, "Not found"),
    PERMISSION_DENIED: (403, "Access denied"),
    UNAUTHENTICATED: (401, "Log in"),
    INVALID_ARGUMENT: (400, "Invalid request"),
    FAILED_PRECONDITION: (400, "Not possible"),
    INTERNAL: (500, "Internal error"),
}


def page(
    title: str,
    body: Html,
    principal: Principal | None = None,
    *,
    status: int = 200,
    refresh_seconds: int = 0,
) -> HTMLResponse:
    """Return a page; without JavaScript it reloads itself after `refresh_seconds`, if not 0."""
    is_named = principal is not None and principal is not ANYONE
    content = html(
        _FRAME,
        title=title,
        body=body,
        refresh=html(_REFRESH, seconds=refresh_seconds) if refresh_seconds else Html(),
        who=html(_WHO, name=principal.name) if principal and is_named else Html(),
    )
    return HTMLResponse(content, status, headers=SECURITY_HEADERS)


def fragment(body: Html) -> HTMLResponse:
    """Return a part of a page, for the script that updates it."""
    return HTMLResponse(body, headers=SECURITY_HEADERS)


def login_page(after: str, problem: str = "") -> HTMLResponse:
    """Return the form for a token, which continues to a path of this server."""
    message = html('<p class="problem" role="alert">{problem}</p>', problem=prose(problem))
    body = html(_LOGIN, next=after, problem=message if problem else Html())
    response = page("Log in", body, status=401)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def error_page(error: ApiError, principal: Principal | None) -> HTMLResponse:
    """Return a page with the problem and a link to the start."""
    status, heading = _HEADINGS.get(error.code, (503, "Temporarily unavailable"))
    body = html(_ERROR, heading=heading, message=prose(error.message))
    return page(heading, body, principal, status=status)


def definitions(pairs: list[tuple[str, str | Html]]) -> Html:
    """Return a list of terms and their values."""
    rows = (html("<div><dt>{term}</dt><dd>{value}</dd></div>", term=t, value=v) for t, v in pairs)
    return html("<dl>{rows}</dl>", rows=join(rows))
