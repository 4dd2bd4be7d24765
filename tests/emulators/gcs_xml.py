"""The XML API of Cloud Storage, as obstore and deltalake use it, over the JSON API.

Objects: GET and HEAD with ranges, generations and preconditions, PUT, copies, DELETE, uploads in
parts (`gcs_xml_parts`). Buckets: listing, version 2. Anything else is refused as not emulated.
"""

from collections.abc import Iterator
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from aiohttp import web

from tests.emulators import gcs_xml_parts, preconditions
from tests.emulators.gcs_upstream import UPSTREAM, Key, Upstream, forward, object_path, refusal

_CODES = {
    400: "InvalidArgument",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    416: "InvalidRange",
    501: "NotImplemented",
}


async def handle(request: web.Request) -> web.StreamResponse:
    """Answer any request of the XML API."""
    upstream = request.app[UPSTREAM]
    path = request.raw_path.split("?", 1)[0]
    bucket, _, name = path.removeprefix("/").partition("/")
    key = (unquote(bucket), unquote(name))
    if not name:
        if request.method == "GET" and request.query.get("list-type") == "2":
            return await _list(request, upstream, key[0])
    elif request.query.keys() & {"uploads", "uploadId"}:
        return await gcs_xml_parts.handle(request, upstream, key)
    elif request.method in {"GET", "HEAD"}:
        return await _read(request, upstream, key)
    elif request.method == "PUT":
        return await _put(request, upstream, key)
    elif request.method == "DELETE":
        return await _delete(request, upstream, key)
    raise web.HTTPNotImplemented(text=f"{request.method} of this is not emulated")


def error_response(status: int, reason: str, message: str) -> web.Response:
    """Return an error in the words of the XML API."""
    code = _CODES.get(status, reason.title().replace(" ", ""))
    return xml_response(
        f"<Error><Code>{code}</Code><Message>{text(message)}</Message></Error>", status
    )


def xml_response(body: str, status: int = 200) -> web.Response:
    """Return a document."""
    declared = f"<?xml version='1.0' encoding='UTF-8'?>{body}"
    return web.Response(status=status, text=declared, content_type="application/xml")


def text(value: str) -> str:
    """Return a value as XML text; line ends would be folded by the reader if left bare."""
    return escape(value, {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;"})


async def _read(request: web.Request, upstream: Upstream, key: Key) -> web.StreamResponse:
    wanted = preconditions.of_xml(request.headers)
    if wanted:
        status = wanted.failure(await upstream.version(key), reading=True)
        if status:
            raise refusal(status)
    # The path that fake-gcs-server takes a GET of the XML API at; errors are worded anew.
    path = f"/{quote(key[0], safe='')}/{quote(key[1], safe='')}"
    if "generation" in request.query:
        path += f"?generation={quote(request.query['generation'])}"
    return await forward(request, upstream, raw_path=path, error=_read_error)


def _read_error(status: int) -> web.HTTPException | None:
    if status == 404:
        return web.HTTPNotFound(text="The specified key does not exist.")
    if status == 416:
        return web.HTTPRequestRangeNotSatisfiable(text="The range cannot be satisfied.")
    return None


async def _put(request: web.Request, upstream: Upstream, key: Key) -> web.Response:
    wanted = preconditions.of_xml(request.headers)
    copied = request.headers.get("x-goog-copy-source")
    if copied is None:
        async with upstream.writing(request, key, wanted):
            found = await upstream.put(
                key, request.content.iter_chunked(1 << 20), request.content_type
            )
        return web.Response(headers=_version_headers(found))

    bucket, _, name = unquote(copied).removeprefix("/").partition("/")
    source = (bucket, name)
    wanted_of_source = preconditions.of_xml_source(request.headers)
    async with upstream.writing(request, key, wanted, (source, wanted_of_source)):
        target = object_path(key).removeprefix("/storage/v1")
        found = await upstream.post(f"{object_path(source)}/rewriteTo{target}")
    resource = found["resource"]
    etag = f"<ETag>{text(resource['etag'])}</ETag>"
    response = xml_response(f"<CopyObjectResult>{etag}</CopyObjectResult>")
    response.headers.update(_version_headers(resource))
    return response


def _version_headers(resource: dict[str, str]) -> dict[str, str]:
    return {
        "ETag": f'"{resource["etag"]}"',
        "x-goog-generation": resource["generation"],
        "x-goog-hash": f"crc32c={resource['crc32c']}",
    }


async def _delete(request: web.Request, upstream: Upstream, key: Key) -> web.Response:
    async with (
        upstream.writing(request, key, preconditions.of_xml(request.headers)),
        upstream.session.delete(upstream.at(object_path(key))) as answer,
    ):
        if answer.status == 404:
            raise web.HTTPNotFound(text="The specified key does not exist.")
        answer.raise_for_status()
        return web.Response(status=204)


async def _list(request: web.Request, upstream: Upstream, bucket: str) -> web.Response:
    query = request.query
    after = query.get("start-after", "")
    asked = {
        "prefix": query.get("prefix", ""),
        "delimiter": query.get("delimiter", ""),
        "maxResults": query.get("max-keys", "1000"),
        "pageToken": query.get("continuation-token", ""),
        "startOffset": after,
    }
    url = upstream.at(f"/storage/v1/b/{quote(bucket, safe='')}/o")
    async with upstream.session.get(url, params={k: v for k, v in asked.items() if v}) as answer:
        if answer.status == 404:
            raise web.HTTPNotFound(text="The specified bucket does not exist.")
        answer.raise_for_status()
        page = await answer.json(content_type=None)
    return xml_response("".join(_listing(bucket, page, after)))


def _listing(bucket: str, page: dict[str, object], after: str) -> Iterator[str]:
    items: list[dict[str, str]] = page.get("items") or []  # type: ignore[assignment]
    prefixes: list[str] = page.get("prefixes") or []  # type: ignore[assignment]
    token = page.get("nextPageToken")
    yield f"<ListBucketResult><Name>{text(bucket)}</Name>"
    yield f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>"
    if token:
        yield f"<NextContinuationToken>{text(str(token))}</NextContinuationToken>"
    for item in items:
        if after and item["name"] == after:  # startOffset includes it, start-after does not
            continue
        yield f"<Contents><Key>{text(item['name'])}</Key>"
        yield f"<Generation>{item['generation']}</Generation>"
        yield f"<LastModified>{item['updated']}</LastModified>"
        yield f"<ETag>&quot;{text(item['etag'])}&quot;</ETag><Size>{item['size']}</Size></Contents>"
    for prefix in prefixes:
        yield f"<CommonPrefixes><Prefix>{text(prefix)}</Prefix></CommonPrefixes>"
    yield "</ListBucketResult>"
