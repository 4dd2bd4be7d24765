"""HTML from templates in which every value is escaped, unless it is HTML already."""

import html as escaping
import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode


class Html(str):
    """Text that is HTML: made by `html` alone."""

    __slots__ = ()


class _Escaping(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, Html):
            return value
        # Names of files that are no UTF-8 cannot be sent as they are.
        text = format(value, format_spec).encode("utf-8", "replace").decode()
        return escaping.escape(text, quote=True)

    def check_unused_args(
        self, used_args: set[int | str], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        if unused := set(kwargs) - used_args:
            raise KeyError(f"the template does not use {unused}")


def html(template: str, /, **values: Any) -> Html:
    """Fill a template, {name} by {name}: attributes must stand in double quotes."""
    return Html(_Escaping().vformat(template, (), values))


def join(pieces: Iterable[Html]) -> Html:
    """Pieces of HTML, one after the other."""
    return Html("".join(pieces))


def link(path: str, **query: str) -> str:
    """A path of this server as a link, its names and query encoded; empty values are left out."""
    asked = urlencode({name: value for name, value in query.items() if value})
    return quote(path, safe="/") + (f"?{asked}" if asked else "")
