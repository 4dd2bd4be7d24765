"""The public face of the storage emulator: fake-gcs-server with what it lacks.

The JSON API passes through, with preconditions held for every write; the XML API, which obstore
and deltalake use, is translated to it (`gcs_xml`). Every client comes through here, so a lock
an object is enough to make "check, then write" one step. Bodies are streamed, never kept.
"""

import json
import re
from collections.abc import AsyncIterator
from urllib.parse import unquote

from aiohttp import ClientSession, TCPConnector, web
from yarl import URL

from tests.emulators import credentials, gcs_xml, preconditions
from tests.emulators.gcs_upstream import UPSTREAM, Key, Upstream, forward, refusal

TOKEN_PATH = "/_emulator/token"

_JSON_API = ("/storage/", "/upload/", "/download/", "/batch/", "/_internal/")
_OBJECT = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)")
_REWRITE = re.compile(
    r"/storage/v1/b/(?P<source_bucket>[^/]+)/o/(?P<source>[^/]+)/(?:rewriteTo|copyTo)"
    r"/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)"
)
_COMPOSE = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)/compose")
_UPLOAD = re.compile(r"/upload/storage/v1/b/(?P<bucket>[^/]+)/o")
_METADATA_PART = re.compile(rb"\r?\n\r?\n(\{.*?\})\s*\r?\n--", re.DOTALL)


def application(upstream_url: str) -> web.Application:
    """Return the front of the fake-gcs-server at `upstream_url`."""

    async def connected(app: web.Application) -> AsyncIterator[None]:
        connector = TCPConnector(limit=0)
        # What a client accepts decides whether the service unpacks: nothing to be added here.
        async with ClientSession(
            connector=connector, auto_decompress=False, skip_auto_headers={"Accept-Encoding"}
        ) as session:
            app[UPSTREAM] = Upstream(session, upstream_url)
            yield

    # No routes: they would decode paths, and object names hold anything, line ends too.
    app = web.Application(middlewares=[_answer])
    app.cleanup_ctx.append(connected)
    return app


@web.middleware
async def _answer(request: web.Request, handler: object) -> web.StreamResponse:
    is_json = request.raw_path.startswith(_JSON_API)
    try:
        if request.raw_path == TOKEN_PATH:
            return web.json_response(credentials.token())
        return await (_json_api(request) if is_json else gcs_xml.handle(request))
    except web.HTTPNotModified:
        return web.Response(status=304)
    except web.HTTPException as error:
        message = error.text or error.reason
        if is_json:
            details = [{"domain": "global", "reason": error.reason, "message": message}]
            body = {"error": {"code": error.status, "message": message, "errors": details}}
            return web.json_response(body, status=error.status)
        return gcs_xml.error_response(error.status, error.reason, message)


async def _json_api(request: web.Request) -> web.StreamResponse:
    upstream = request.app[UPSTREAM]
    path = request.raw_path.split("?", 1)[0]
    query = request.query
    if match := _UPLOAD.fullmatch(path):
        return await _upload(request, upstream, unquote(match["bucket"]))
    if match := _REWRITE.fullmatch(path):
        source = (unquote(match["source_bucket"]), unquote(match["source"]))
        wanted_of_source = preconditions.of_json(query, source=True)
        if "sourceGeneration" in query:
            found = await upstream.version(source)
            if str(found.generation) != query["sourceGeneration"]:
                raise web.HTTPNotFound(text="No such object: another generation is live.")
        async with upstream.writing(
            request, _key(match), preconditions.of_json(query), (source, wanted_of_source)
        ):
            return await forward(request, upstream)
    match = _COMPOSE.fullmatch(path) or _OBJECT.fullmatch(path)
    wanted = preconditions.of_json(query)
    if match and request.method in {"GET", "HEAD"} and wanted:
        status = wanted.failure(await upstream.version(_key(match)), reading=True)
        if status:
            raise refusal(status)
    elif match and request.method not in {"GET", "HEAD"}:
        async with upstream.writing(request, _key(match), wanted):
            return await forward(request, upstream)
    return await forward(request, upstream)


def _key(match: re.Match[str]) -> Key:
    return unquote(match["bucket"]), unquote(match["name"])


async def _upload(request: web.Request, upstream: Upstream, bucket: str) -> web.StreamResponse:
    query = request.query
    upload_id = query.get("upload_id")
    if upload_id is not None:
        key, wanted = upstream.resumable[upload_id]
        if not _is_last(request.headers.get("Content-Range")):
            return await forward(request, upstream)
        async with upstream.writing(request, key, wanted):
            return await forward(request, upstream)

    wanted = preconditions.of_json(query)
    head = b""
    if "name" in query:
        name = query["name"]
    else:
        head, name = await _name_in_body(request, multipart=query.get("uploadType") == "multipart")
    key = (bucket, name)
    async with upstream.writing(request, key, wanted):
        response = await forward(request, upstream, head=head)
    if query.get("uploadType") == "resumable" and response.status == 200:
        location = URL(response.headers["Location"])
        upstream.resumable[location.query["upload_id"]] = (key, wanted)
    return response


def _is_last(content_range: str | None) -> bool:
    """Return whether a piece of a resumable upload completes it."""
    if content_range is None:
        return True
    sent, _, total = content_range.removeprefix("bytes").strip().partition("/")
    return total != "*" and (sent == "*" or int(sent.partition("-")[2]) + 1 == int(total))


async def _name_in_body(request: web.Request, *, multipart: bool) -> tuple[bytes, str]:
    """Return what was read of the body, and the object's name in the metadata therein."""
    head = b""
    while True:
        piece = await request.content.readany()
        head += piece
        if multipart:
            match = _METADATA_PART.search(head)
            if match:
                return head, str(json.loads(match[1])["name"])
        if not piece:
            break
    if multipart:
        raise web.HTTPBadRequest(text="the upload has no metadata part")
    return head, str(json.loads(head)["name"])
