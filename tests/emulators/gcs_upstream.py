"""fake-gcs-server as the front sees it: what is there, one writer at a time, requests passed on."""

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiohttp import ClientResponse, ClientSession, web
from yarl import URL

from tests.emulators.preconditions import ABSENT, Preconditions, Version

if TYPE_CHECKING:
    from tests.emulators.gcs_xml_parts import PartsUpload

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}

# bucket, object name
Key = tuple[str, str]


class Upstream:
    """The server behind, and the uploads under way."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self.session = session
        self.url = url
        self.resumable: dict[str, tuple[Key, Preconditions]] = {}
        self.in_parts: dict[str, PartsUpload] = {}
        self._locks: weakref.WeakValueDictionary[Key, asyncio.Lock] = weakref.WeakValueDictionary()

    def at(self, raw_path: str) -> URL:
        """Return the URL of a path that is percent-encoded already."""
        return URL(self.url + raw_path, encoded=True)

    async def version(self, key: Key) -> Version:
        """Return the live version of an object, `ABSENT` where there is none."""
        async with self.session.get(self.at(object_path(key))) as answer:
            if answer.status == 404:
                return ABSENT
            found = await _json(answer)
        return Version(int(found["generation"]), found["etag"].strip('"'))

    async def put(self, key: Key, body: AsyncIterable[bytes], content_type: str) -> Any:
        """Write an object and return its resource."""
        path = f"/upload/storage/v1/b/{quote(key[0], safe='')}/o"
        return await self.post(
            f"{path}?uploadType=media&name={quote(key[1], safe='')}",
            body,
            {"Content-Type": content_type},
        )

    async def post(
        self,
        raw_path: str,
        body: AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return what the JSON API answers to a POST.

        Raises:
            web.HTTPException: with the status and message of the JSON API.
        """
        async with self.session.post(self.at(raw_path), data=body, headers=headers) as answer:
            return await _json(answer)

    @contextlib.asynccontextmanager
    async def writing(
        self,
        request: web.Request,
        key: Key,
        wanted: Preconditions,
        source: tuple[Key, Preconditions] | None = None,
    ) -> AsyncIterator[None]:
        """Hold an object against other writers, once the preconditions are met.

        Raises:
            web.HTTPException: they are not. The body has been read off, for a client that is
                still sending would see a broken connection in place of the answer.
        """
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            status = None
            if wanted:
                status = wanted.failure(await self.version(key), reading=False)
            if not status and source and source[1]:
                status = source[1].failure(await self.version(source[0]), reading=False)
            if status:
                async for _ in request.content.iter_chunked(1 << 20):
                    pass
                raise refusal(status)
            yield


UPSTREAM: web.AppKey[Upstream] = web.AppKey("upstream", Upstream)


class Refused(web.HTTPException):
    """An answer of fake-gcs-server that is an error, to be worded as the asked API does."""

    def __init__(self, status: int, text: str) -> None:
        self.status_code = status
        super().__init__(text=text)


async def _json(answer: ClientResponse) -> Any:
    if answer.status >= 400:
        raise Refused(answer.status, await answer.text())
    return await answer.json(content_type=None)


def refusal(status: int) -> web.HTTPException:
    """Return the answer to a request whose preconditions do not hold."""
    if status == 304:
        return web.HTTPNotModified()
    return web.HTTPPreconditionFailed(text="a precondition of the request does not hold")


def object_path(key: Key) -> str:
    """Return the JSON API's percent-encoded path of an object."""
    return f"/storage/v1/b/{quote(key[0], safe='')}/o/{quote(key[1], safe='')}"


async def forward(
    request: web.Request,
    upstream: Upstream,
    *,
    head: bytes = b"",
    raw_path: str | None = None,
    error: Callable[[int], web.HTTPException | None] | None = None,
) -> web.StreamResponse:
    """Pass a request on and stream the answer.

    Args:
        request: its body is streamed too.
        upstream: where to.
        head: what was read of the body already.
        raw_path: path and query to ask for, in place of the request's.
        error: gives the error to raise in place of an answer with a status, if any.
    """

    async def body() -> AsyncIterator[bytes]:
        if head:
            yield head
        async for piece in request.content.iter_chunked(1 << 20):
            yield piece

    async with upstream.session.request(
        request.method,
        upstream.at(raw_path or request.raw_path),
        headers=_end_to_end(request.headers),
        data=body() if request.body_exists else None,
        allow_redirects=False,
    ) as answer:
        reworded = error(answer.status) if error else None
        if reworded:
            raise reworded
        response = web.StreamResponse(status=answer.status, reason=answer.reason)
        response.headers.extend(_end_to_end(answer.headers))
        await response.prepare(request)
        if request.method != "HEAD":
            async for piece in answer.content.iter_chunked(1 << 20):
                await response.write(piece)
        await response.write_eof()
        return response


def _end_to_end(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, text) for name, text in headers.items() if name.lower() not in _HOP_BY_HOP]
