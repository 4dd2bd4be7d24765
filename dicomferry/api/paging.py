"""Pages of a list: sizes, and tokens that stay valid while the list changes.

A token holds the last name of its page and a digest of the request, so the next page
starts after that name, regardless of creations and deletions, and a token works with
the same request only.
"""

import base64
import binascii
import hashlib
import json

from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.api.errors import ApiError

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
_MAX_TOKEN = 4000


def page_size(requested: int) -> int:
    """Return the number of items on a page: 100 if 0 was requested, at most 1,000.

    Raises:
        ApiError: it is negative.
    """
    if requested < 0:
        raise ApiError(INVALID_ARGUMENT, f"page_size must be 0 or more, got {requested}")
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def next_page_token(last: str, *request: str) -> str:
    """Return the token of the page after the one that ends with `last`.

    Args:
        last: name of the page's last resource.
        request: parts that must be the same in the next request: method, parent, filter.
    """
    text = json.dumps([last, _digest(request)], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def last_of_page_before(token: str, *request: str) -> str:
    """Return the name after which a page begins; '' without a token.

    Raises:
        ApiError: this service did not return the token for such a request.
    """
    if not token:
        return ""
    try:
        if len(token) > _MAX_TOKEN:
            raise ValueError(token)
        padding = "=" * (-len(token) % 4)
        last, digest = json.loads(base64.b64decode(token + padding, b"-_", validate=True))
        if not isinstance(last, str) or digest != _digest(request):
            raise ValueError(token)
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise ApiError(
            INVALID_ARGUMENT,
            "page_token is not one that was returned for this request: keep parent and filter "
            "as they were, or start again without a token",
        ) from None
    return last


def _digest(request: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps(request).encode()).hexdigest()[:16]
