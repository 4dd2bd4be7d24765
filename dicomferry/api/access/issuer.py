"""The public keys of an OpenID Connect issuer, as it publishes them."""

import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import jwt

_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 1 << 20
# Keys are asked for again after this time, and for an unknown key at most this often.
_FRESH_SECONDS = 3600.0
_AGAIN_SECONDS = 30.0


class IssuerError(Exception):
    """The keys cannot be had; the message says why."""


class IssuerKeys:
    """Keys of an issuer by their id. One thread at a time asks for them; no other waits for it."""

    def __init__(self, issuer: str) -> None:
        """Keep the issuer; nothing is asked yet."""
        self._issuer = issuer
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked = float("-inf")

    def get(self, key_id: str) -> jwt.PyJWK | None:
        """Return a key; None if the issuer has none of that id.

        Strangers can name any id, so the issuer is asked for unknown ones now and then alone.

        Raises:
            IssuerError: no keys are known, and the issuer gives none.
        """
        age = time.monotonic() - self._asked
        is_due = age > (_FRESH_SECONDS if key_id in self._keys else _AGAIN_SECONDS)
        if is_due and self._lock.acquire(blocking=False):
            try:
                self._asked = time.monotonic()
                self._keys = self._fetch()
            except IssuerError:
                if not self._keys:
                    raise
            finally:
                self._lock.release()
        if not self._keys:
            raise IssuerError(f"{self._issuer} has given no keys yet")
        return self._keys.get(key_id)

    def _fetch(self) -> dict[str, jwt.PyJWK]:
        base = self._issuer.rstrip("/")
        configuration = _json(f"{base}/.well-known/openid-configuration")
        if configuration.get("issuer") != self._issuer:
            raise IssuerError(f"{base} calls itself {str(configuration.get('issuer'))[:200]!r}")
        listed = _json(str(configuration.get("jwks_uri", ""))).get("keys")
        keys: dict[str, jwt.PyJWK] = {}
        for each in listed if isinstance(listed, list) else []:
            if not isinstance(each, dict) or each.get("use", "sig") != "sig":
                continue
            try:
                keys[str(each.get("kid", ""))] = jwt.PyJWK(each)
            except (jwt.PyJWTError, ValueError, TypeError):
                continue  # of a kind that is not known here
        if not keys:
            raise IssuerError(f"{base} has no key for signatures")
        return keys


def _json(url: str) -> dict[str, Any]:
    if not url.startswith(("https://", "http://localhost", "http://127.0.0.1")):
        raise IssuerError(f"{url[:200]!r} is not an https:// URL")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:
            content = json.loads(answer.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError, urllib.error.URLError) as error:
        raise IssuerError(f"{url} does not answer with JSON ({type(error).__name__})") from None
    if not isinstance(content, dict):
        raise IssuerError(f"{url} does not answer with a JSON object")
    return content
