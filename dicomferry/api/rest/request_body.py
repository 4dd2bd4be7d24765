"""The body of a request: bounded, unpacked, and its method where a client could not send it.

Clients of Google's APIs pack bodies with gzip. They send PATCH as POST where the platform has none,
and long queries as the body of a POST, with the method in X-HTTP-Method-Override.
"""

import zlib

from google.rpc.code_pb2 import INVALID_ARGUMENT
from starlette.requests import Request

from dicomferry.api.errors import ApiError

MAX_BODY_BYTES = 1 << 20
_OVERRIDABLE = ("DELETE", "GET", "PATCH", "POST", "PUT")
_FORM = "application/x-www-form-urlencoded"
_GZIP = 16 + zlib.MAX_WBITS


def method_of(request: Request) -> str:
    """Return the HTTP method that a request means.

    Raises:
        ApiError: X-HTTP-Method-Override is no method.
    """
    override = request.headers.get("x-http-method-override")
    if override is None or request.method != "POST":
        return request.method
    if override.upper() not in _OVERRIDABLE:
        raise ApiError(
            INVALID_ARGUMENT,
            f"X-HTTP-Method-Override must be one of {', '.join(_OVERRIDABLE)}",
        )
    return override.upper()


def is_query(request: Request, method: str) -> bool:
    """Whether the body is the query of a GET that was too long for a URL."""
    form = request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM
    return form and method == "GET" and request.method == "POST"


def has_body(request: Request) -> bool:
    """Whether a body comes."""
    if "transfer-encoding" in request.headers:
        return True
    return request.headers.get("content-length", "0").strip() != "0"


async def read_body(request: Request) -> bytes:
    """Return the body, unpacked.

    Raises:
        ApiError: it is too large, before or after it is unpacked, or not packed as it says.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("gzip", "x-gzip", "identity", ""):
        raise ApiError(
            INVALID_ARGUMENT,
            f"Content-Encoding {encoding[:50]!r} is not supported: use gzip, or none",
            http_status=415,
        )
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    return body if encoding in ("identity", "") or not body else _unpacked(body)


def _unpacked(body: bytes) -> bytes:
    inflater = zlib.decompressobj(_GZIP)
    try:
        content = inflater.decompress(body, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise ApiError(INVALID_ARGUMENT, "the body is not gzip, as its header says") from None
    if len(content) > MAX_BODY_BYTES:
        raise _too_large()
    if not inflater.eof or inflater.unused_data:
        raise ApiError(INVALID_ARGUMENT, "the body is not one whole gzip stream")
    return content


def _too_large() -> ApiError:
    return ApiError(INVALID_ARGUMENT, f"a body can have at most {MAX_BODY_BYTES} bytes")
