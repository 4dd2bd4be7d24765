"""Uploads in parts of the XML API: parts wait in temporary files until they are put together."""

import re
import secrets
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import IO

from aiohttp import web

from tests.emulators import gcs_xml, preconditions
from tests.emulators.gcs_upstream import Key, Upstream

_PART_NUMBER = re.compile(r"<PartNumber>(\d+)</PartNumber>")


@dataclass
class PartsUpload:
    """An upload under way: the object that it makes, its parts by number."""

    key: Key
    content_type: str
    parts: dict[int, IO[bytes]] = field(default_factory=dict)


async def handle(request: web.Request, upstream: Upstream, key: Key) -> web.Response:
    """Answer one step of an upload in parts.

    Raises:
        web.HTTPException: there is no such upload or part.
    """
    step, query = request.method, request.query
    if step == "POST" and "uploads" in query:
        upload_id = secrets.token_hex(16)
        upstream.in_parts[upload_id] = PartsUpload(key, request.content_type)
        return gcs_xml.xml_response(
            "<InitiateMultipartUploadResult>"
            f"<Bucket>{gcs_xml.text(key[0])}</Bucket><Key>{gcs_xml.text(key[1])}</Key>"
            f"<UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
        )
    upload = upstream.in_parts.get(query.get("uploadId", ""))
    if upload is None or upload.key != key:
        raise web.HTTPNotFound(text="The specified upload does not exist.")
    if step == "PUT":
        return await _take_part(request, upload, int(query["partNumber"]))
    if step == "POST":
        return await _complete(request, upstream, upload)
    if step == "DELETE":
        del upstream.in_parts[query["uploadId"]]
        return web.Response(status=204)
    raise web.HTTPNotImplemented(text=f"{step} of an upload in parts is not emulated")


async def _take_part(request: web.Request, upload: PartsUpload, number: int) -> web.Response:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - outlives the request
    async for piece in request.content.iter_chunked(1 << 20):
        file.write(piece)
    upload.parts[number] = file
    return web.Response(headers={"ETag": f'"part-{number}"'})


async def _complete(request: web.Request, upstream: Upstream, upload: PartsUpload) -> web.Response:
    numbers = [int(each) for each in _PART_NUMBER.findall(await request.text())]
    if not numbers or numbers != sorted(set(numbers)) or not set(numbers) <= upload.parts.keys():
        raise web.HTTPBadRequest(text="One or more of the specified parts could not be found.")

    async def body() -> AsyncIterator[bytes]:
        for number in numbers:
            upload.parts[number].seek(0)
            while piece := upload.parts[number].read(1 << 20):
                yield piece

    wanted = preconditions.of_xml(request.headers)
    async with upstream.writing(request, upload.key, wanted):
        made = await upstream.put(upload.key, body(), upload.content_type)
    del upstream.in_parts[request.query["uploadId"]]
    response = gcs_xml.xml_response(
        "<CompleteMultipartUploadResult>"
        f"<Bucket>{gcs_xml.text(upload.key[0])}</Bucket><Key>{gcs_xml.text(upload.key[1])}</Key>"
        f"<ETag>&quot;{gcs_xml.text(made['etag'])}&quot;</ETag></CompleteMultipartUploadResult>"
    )
    response.headers["x-goog-generation"] = made["generation"]
    return response
