"""The public keys of an OpenID Connect issuer, as it publishes them."""

import http.client
import json
import re
import threading
import time
import urllib.request
from typing import Any

import jwt

_TIMEOUT_SECONDS = 5.0
_DOCUMENT_SECONDS = 10.0
_MAX_BYTES = 1 << 20
_PIECE = 1 << 16
# Keys are asked for again after an hour; for an unknown key, or after a failure, so often at most.
_FRESH_SECONDS = 3600.0
_AGAIN_SECONDS = 30.0
_FIRST_AGAIN_SECONDS = 2.0
# So long they serve while the issuer does not answer.
_STALE_SECONDS = 86_400.0
_URL = re.compile(
    r"https://[^\s/?#@]+(/[^\s?#]*)?|http://(localhost|127\.0\.0\.1)(:\d+)?(/[^\s?#]*)?"
)


class IssuerError(Exception):
    """The keys are not available; the message says why."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: one could lead away from TLS."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Let the redirect be an error."""


_OPENER = urllib.request.build_opener(_NoRedirects)


def is_issuer_url(url: str) -> bool:
    """Whether an issuer may have a URL: TLS, or this machine."""
    return _URL.fullmatch(url) is not None


class IssuerKeys:
    """Keys of an issuer by their id. One thread at a time asks for them; no other waits for it."""

    def __init__(self, issuer: str) -> None:
        """Keep the issuer; nothing is asked yet."""
        self._issuer = issuer
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked = self._answered = float("-inf")

    def get(self, key_id: str) -> jwt.PyJWK | None:
        """Return a key; None if the issuer has none of that id.

        Strangers can name any id, so the issuer is asked for unknown ones now and then alone.

        Args:
            key_id: of the key; '' is the only one that the issuer has.

        Raises:
            IssuerError: no keys are known, or those that are known are a day old.
        """
        if self._is_due(key_id) and self._lock.acquire(blocking=False):
            try:
                self._asked = time.monotonic()
                self._keys = _fetch(self._issuer)
                self._answered = time.monotonic()
            except IssuerError:
                if not self._has_keys():
                    raise
            finally:
                self._lock.release()
        if not self._has_keys():
            raise IssuerError(f"{self._issuer} returned no keys")
        if not key_id and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _has_keys(self) -> bool:
        return bool(self._keys) and time.monotonic() - self._answered < _STALE_SECONDS

    def _is_due(self, key_id: str) -> bool:
        now = time.monotonic()
        if now - self._asked <= (_AGAIN_SECONDS if self._keys else _FIRST_AGAIN_SECONDS):
            return False
        return now - self._answered > _FRESH_SECONDS or key_id not in self._keys


def _fetch(issuer: str) -> dict[str, jwt.PyJWK]:
    base = issuer.rstrip("/")
    configuration = _json(f"{base}/.well-known/openid-configuration")
    if configuration.get("issuer") != issuer:
        raise IssuerError(
            f"{base} names another issuer: {str(configuration.get('issuer'))[:200]!r}"
        )
    listed = _json(str(configuration.get("jwks_uri", ""))).get("keys")
    keys: dict[str, jwt.PyJWK] = {}
    for each in listed if isinstance(listed, list) else []:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        try:
            keys[str(each.get("kid", ""))] = jwt.PyJWK(each)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue  # of a kind that is not known here
    if not keys:
        raise IssuerError(f"{base} has no key for signatures")
    return keys


def _json(url: str) -> dict[str, Any]:
    if not is_issuer_url(url):
        raise IssuerError(f"{url[:200]!r} is not an https:// URL")
    try:
        with _OPENER.open(url, timeout=_TIMEOUT_SECONDS) as answer:
            content = json.loads(_read(answer))
    except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
        raise IssuerError(f"{url} does not answer with JSON ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise IssuerError(f"{url} does not answer with a JSON object")
    return content


def _read(answer: Any) -> bytes:
    """Read an answer, which may come byte by byte.

    Raises:
        TimeoutError: it takes too long.
        ValueError: it is too large.
    """
    content, end = b"", time.monotonic() + _DOCUMENT_SECONDS
    while piece := answer.read1(_PIECE):
        content += piece
        if len(content) > _MAX_BYTES:
            raise ValueError("too large")
        if time.monotonic() > end:
            raise TimeoutError
    return content
