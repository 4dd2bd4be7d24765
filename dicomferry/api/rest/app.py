"""The REST transport: every method of the contract by its HTTP annotation, in proto JSON."""

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf import json_format
from google.rpc.code_pb2 import INVALID_ARGUMENT, UNAUTHENTICATED, UNAVAILABLE, Code
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from dicomferry.api.access import Principal
from dicomferry.api.dispatch import Dispatcher
from dicomferry.api.errors import ApiError
from dicomferry.api.own_threads import OwnThreads
from dicomferry.api.rest.http_rule import Route, find_route, routes_of
from dicomferry.api.rest.messages import Query, dump, read_request, token_of, write_response
from dicomferry.api.rest.partial import HEADER, Selection, selection_of
from dicomferry.api.rest.request_body import has_body, is_query, method_of, read_body
from dicomferry.api.rest.unserved import no_such_method, with_verb
from dicomferry.api.rpcs import Rpc

_MAX_PARAMETERS = 100
_CALLS_AT_ONCE = 32
_ENDING = ApiError(UNAVAILABLE, "the server is stopping and the call took too long; try again")
# As in google/rpc/code.proto.
_HTTP_STATUS = {
    "OK": 200,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}


class RestApp:
    """ASGI application that answers REST calls."""

    def __init__(self, rpcs: Sequence[Rpc], dispatcher: Dispatcher) -> None:
        """Serve methods by a dispatcher."""
        self._routes = routes_of(rpcs)
        self._dispatcher = dispatcher
        self._threads = OwnThreads(_CALLS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        query: Query = []
        try:
            query = _query(scope["query_string"])
            method = method_of(request)
            path = scope["raw_path"].decode("ascii", errors="replace")
            route, name = self._find(method, path)
            authorization = token_of(request.headers.get("authorization"), query)
            body = b""
            if has_body(request):
                # Bodies of unknown callers take no memory.
                await run_in_threadpool(
                    self._dispatcher.require_login,
                    route.rpc.full_name,
                    authorization,
                    request.headers,
                )
                body = await read_body(request)
            if is_query(request, method):
                query, body = [*query, *_query(body)], b""
            mask = request.headers.get(HEADER, "")

            def answer() -> bytes:
                selection: Selection = None

                def read(_: Principal) -> Any:
                    # Refused before anything is done.
                    nonlocal selection
                    selection = selection_of(query, mask, route.rpc.response_class.DESCRIPTOR)
                    return read_request(route, name, query, body)

                try:
                    message = self._dispatcher.answer(
                        route.rpc, read, authorization, request.headers
                    )
                except ApiError as error:
                    raise with_verb(error, route, path) from None
                return write_response(message, query, path, selection)

            # Handlers block: files, buckets, tables.
            content = await self._threads.run(answer)
            response = Response(content, 200, media_type="application/json")
        except ApiError as error:
            response = error_response(error, query)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            # Swallowed: nothing else is done in this task.
            response = error_response(_ENDING, query)
        await response(scope, receive, send)

    def _find(self, method: str, path: str) -> tuple[Route, str]:
        match = find_route(self._routes, method, path)
        if match is None:
            raise no_such_method(method, path)
        return match


def error_response(error: ApiError, query: Query = ()) -> Response:
    """Return google.rpc.Status in the form of Google's JSON APIs."""
    name = Code.Name(error.code)
    status = error.http_status or _HTTP_STATUS[name]
    details = json_format.MessageToDict(error.status(error.message))["details"]
    content = {
        "error": {"code": status, "message": error.message, "status": name, "details": details}
    }
    headers = (
        {"WWW-Authenticate": 'Bearer realm="dicomferry"'} if error.code == UNAUTHENTICATED else None
    )
    return Response(dump(content, query), status, headers, "application/json")


def _query(text: bytes) -> Query:
    try:
        return parse_qsl(
            text.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MAX_PARAMETERS,
        )
    except ValueError:
        raise ApiError(
            INVALID_ARGUMENT,
            f"the query must be UTF-8, percent-encoded, of at most {_MAX_PARAMETERS} parameters",
        ) from None
