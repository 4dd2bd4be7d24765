"""Confirmations of changes: a page of this server asked, and who is logged in there said yes.

A confirmation holds for one session and for the very change that the page showed, for some minutes,
and once: a form that is sent twice leads to what the first one started. The key is this process's
own, so that a restart of the server makes people confirm again.
"""

import hashlib
import hmac
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from google.rpc.code_pb2 import PERMISSION_DENIED

from dicomferry.api.errors import ApiError

_SECONDS = 600
_MAX_KEPT = 10_000


class Change(NamedTuple):
    """What is asked for.

    Attributes:
        session: of who asks: the Authorization of the requests, None without a login.
        path: of the page.
        fields: of the form.
    """

    session: str | None
    path: str
    fields: dict[str, str]


class Confirmations:
    """Makes and checks confirmations."""

    def __init__(self) -> None:
        """Make a key."""
        self._key = secrets.token_bytes(32)
        self._lock = Lock()
        self._used: OrderedDict[str, str] = OrderedDict()

    def make(self, change: Change) -> str:
        """Return a token for the form that confirms a change."""
        start = f"{int(time.time()) + _SECONDS}.{secrets.token_urlsafe(16)}"
        return f"{start}.{self._mac(start, change)}"

    def act(self, token: str, change: Change, action: Callable[[], str]) -> str:
        """Do what was confirmed, once; return where it leads, '' if it is being done.

        Args:
            token: of the form.
            change: what the form asks for.
            action: does it, and returns where it leads; what it raises can be tried again.

        Raises:
            ApiError: PERMISSION_DENIED: it was not confirmed.
        """
        start, _, mac = token.rpartition(".")
        expected = self._mac(start, change)
        is_known = hmac.compare_digest(expected.encode(), mac.encode("utf-8", "replace"))
        if not is_known or int(start.partition(".")[0]) < time.time():
            raise ApiError(
                PERMISSION_DENIED,
                "This was not confirmed in time: fill in the form again.",
            )
        with self._lock:
            if start in self._used:
                return self._used[start]
            self._used[start] = ""
            while len(self._used) > _MAX_KEPT:
                self._used.popitem(last=False)
        try:
            where = action()
        except BaseException:
            with self._lock:
                self._used.pop(start, None)
            raise
        with self._lock:
            self._used[start] = where
        return where

    def _mac(self, start: str, change: Change) -> str:
        text = json.dumps([start, change.session, change.path, sorted(change.fields.items())])
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
