"""HTML templates that escape every value, unless it is HTML already.

Like markupsafe, but a value that the template does not use is an error, and text that is not
UTF-8 is replaced.
"""

import html as escaping
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode


class Html(str):
    """Text that is HTML; only `html` and `join` create it from values."""

    __slots__ = ()


class _Escaping(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Html):
            return value
        # Names of files that are not UTF-8 cannot be sent as they are.
        text = format(value, format_spec).encode("utf-8", "replace").decode()
        return escaping.escape(text, quote=True)

    def check_unused_args(
        self, used_args: set[int | str], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        if unused := set(kwargs) - used_args:
            raise KeyError(f"the template does not use {unused}")


def html(template: str, /, **values: Any) -> Html:
    """Fill a template with {name} fields; attributes must be in double quotes."""
    return Html(_Escaping().vformat(template, (), values))


def prose(text: str) -> Html:
    """Return a message as HTML; what is between backticks is code."""
    *pairs, last = re.split(r"`([^`]+)`", text)
    pieces = (
        html("{words}<code>{code}</code>", words=words, code=code)
        for words, code in zip(pairs[::2], pairs[1::2], strict=True)
    )
    return join([*pieces, html("{last}", last=last)])


def join(pieces: Iterable[Html]) -> Html:
    """Concatenate pieces of HTML."""
    return Html("".join(pieces))


def link(path: str, **query: str) -> str:
    """Return an encoded path of this server with a query; empty values are left out."""
    parameters = urlencode({name: value for name, value in query.items() if value})
    return quote(path, safe="/") + (f"?{parameters}" if parameters else "")
