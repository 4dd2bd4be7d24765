"""Forms that browsers send: their fields, bounded, and whether they are of this server's pages."""

from urllib.parse import parse_qs

from google.rpc.code_pb2 import INVALID_ARGUMENT, PERMISSION_DENIED
from starlette.requests import Request

from dicomferry.api.errors import ApiError

_MAX_BYTES = 16_384
_MAX_FIELDS = 10


def check_origin(request: Request) -> None:
    """Refuse a form of another site.

    Raises:
        ApiError: PERMISSION_DENIED.
    """
    origin = request.headers.get("Origin")
    is_own = origin is None or origin.partition("://")[2] == request.headers.get("Host")
    # Browsers that tell the one tell the other, too; a program tells neither.
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if not is_own or site not in ("same-origin", "none"):
        raise ApiError(PERMISSION_DENIED, "This form belongs to another site.")


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form; of one that comes twice the first.

    Raises:
        ApiError: INVALID_ARGUMENT: it is too large.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise ApiError(INVALID_ARGUMENT, "The form is too large.")
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise ApiError(INVALID_ARGUMENT, "The form has too many fields.") from None
    return {name: values[0].strip() for name, values in fields.items()}
