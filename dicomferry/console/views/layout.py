"""The frame around every page, the login, and what is said when something is missing."""

from google.rpc.code_pb2 import (
    INTERNAL,
    INVALID_ARGUMENT,
    NOT_FOUND,
    PERMISSION_DENIED,
    UNAUTHENTICATED,
)
from starlette.responses import HTMLResponse

from dicomferry.api.access import ANYONE, Principal
from dicomferry.api.errors import ApiError
from dicomferry.console.views.markup import Html, html, join

# Nothing but this server's own stylesheet, script and pictures; no other site may frame it.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # What a store holds must not stay behind in a browser's cache.
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
<script src="/console/live.js" defer></script>{refresh}
</head>
<body>
<header><a class="brand" href="/">dicomferry</a>{who}</header>
<main>{body}</main>
</body>
</html>
"""
_REFRESH = '\n<noscript><meta http-equiv="refresh" content="{seconds}"></noscript>'
_WHO = """<form class="who" method="post" action="/console/logout">
<span>{name}</span><button>Log out</button></form>"""
_LOGIN = """<section class="login">
<h1>Log in</h1>
<p>Give the token that this server's administrator made for you.</p>
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
    NOT_FOUND: (404, "Nothing here"),
    PERMISSION_DENIED: (403, "Not for this token"),
    UNAUTHENTICATED: (401, "Log in"),
    INVALID_ARGUMENT: (400, "This cannot be asked"),
    INTERNAL: (500, "Something broke"),
}


def page(
    title: str,
    body: Html,
    principal: Principal | None = None,
    *,
    status: int = 200,
    refresh_seconds: int = 0,
) -> HTMLResponse:
    """A whole page; without JavaScript it loads itself anew after `refresh_seconds`, if any."""
    named = principal is not None and principal is not ANYONE
    content = html(
        _FRAME,
        title=title,
        body=body,
        refresh=html(_REFRESH, seconds=refresh_seconds) if refresh_seconds else Html(),
        who=html(_WHO, name=principal.name) if principal and named else Html(),
    )
    return HTMLResponse(content, status, headers=SECURITY_HEADERS)


def fragment(body: Html) -> HTMLResponse:
    """A part of a page, for the script that keeps it up to date."""
    return HTMLResponse(body, headers=SECURITY_HEADERS)


def login_page(after: str, problem: str = "") -> HTMLResponse:
    """The form that takes a token, and goes on to a path of this server."""
    said = html('<p class="problem" role="alert">{problem}</p>', problem=problem)
    body = html(_LOGIN, next=after, problem=said if problem else Html())
    response = page("Log in", body, status=401)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def error_page(error: ApiError, principal: Principal | None) -> HTMLResponse:
    """What is wrong, and where to go on."""
    status, heading = _HEADINGS.get(error.code, (503, "Not at present"))
    body = html(_ERROR, heading=heading, message=error.message)
    return page(heading, body, principal, status=status)


def definitions(pairs: list[tuple[str, str | Html]]) -> Html:
    """A list of terms and what stands for them."""
    rows = (html("<div><dt>{term}</dt><dd>{value}</dd></div>", term=t, value=v) for t, v in pairs)
    return html("<dl>{rows}</dl>", rows=join(rows))
