"""The HTTP annotations of the contract as routes (google.api.HttpRule).

Only the forms that the contract uses: one variable per path, whose segments are `*`, and a verb
after a colon. Paths are matched as they were sent, percent-encoded, so that a ':' in the id of a
store differs from that of a verb.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from google.api.http_pb2 import HttpRule
from google.rpc.code_pb2 import INVALID_ARGUMENT

from dicomferry.api.errors import ApiError
from dicomferry.api.rest.versions import IN_PATHS
from dicomferry.api.rpcs import Rpc

_TEMPLATE = re.compile(
    r"(?P<before>[^{]*)\{(?P<variable>[a-z_.]+)=(?P<segments>[^}]+)\}(?P<after>[^:]*)(?P<verb>:\w+)?"
)


class Route(NamedTuple):
    """Mapping of a method in REST.

    Attributes:
        method: of HTTP.
        path: matches the raw path; its one group is the variable.
        variable: dotted path of the field that the path gives.
        body: field that is in the body; '*' for the whole request, '' for no body.
        has_verb: whether the path ends in :verb.
        rpc: the method.
    """

    method: str
    path: re.Pattern[str]
    variable: str
    body: str
    has_verb: bool
    rpc: Rpc


def routes_of(rpcs: Sequence[Rpc]) -> list[Route]:
    """Return the routes of all methods in REST; those with a verb first, as an id can have a ':'.

    Raises:
        ValueError: an annotation has a form that is not supported.
    """
    routes = [
        _route(rpc, rule)
        for rpc in rpcs
        if rpc.http is not None
        for rule in (rpc.http, *rpc.http.additional_bindings)
    ]
    return sorted(routes, key=lambda route: not route.has_verb)


def find_route(routes: Sequence[Route], method: str, raw_path: str) -> tuple[Route, str] | None:
    """Find the route of a request, and the value of the variable in its path.

    Raises:
        ApiError: the variable is not valid text, or an id has a '/'.
    """
    for route in routes:
        if route.method == method and (match := route.path.fullmatch(raw_path)):
            return route, "/".join(map(_decoded, match[1].split("/")))
    return None


def _route(rpc: Rpc, rule: HttpRule) -> Route:
    method = rule.WhichOneof("pattern")
    template = _TEMPLATE.fullmatch(getattr(rule, method))
    if template is None:
        raise ValueError(f"{rpc.name}: {rule} is not a supported HTTP annotation")
    segments = template["segments"].replace("*", "[^/]+")
    before = template["before"].replace("/v1/", IN_PATHS)
    path = f"{before}({segments}){template['after']}{template['verb'] or ''}"
    return Route(
        method.upper(),
        re.compile(path, re.ASCII),
        template["variable"],
        rule.body,
        bool(template["verb"]),
        rpc,
    )


def _decoded(segment: str) -> str:
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise ApiError(INVALID_ARGUMENT, f"{segment!r} in the path is not UTF-8") from None
    if "/" in text:
        raise ApiError(INVALID_ARGUMENT, f"{text!r} in the path: an id cannot have a '/'")
    return text
