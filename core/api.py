"""The one shape of every JSON answer: `{success, data, message, error, code}`.

`data` is the thing asked for, `message` a sentence for people, `error` the sentence of a refusal and
`code` its stable name. Everything under /api/v1/ goes through EnvelopeRenderer and `handle_exception`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import DataError, OperationalError
from django.http import Http404, HttpResponse
from redis.exceptions import RedisError
from rest_framework import exceptions as drf
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import AnonRateThrottle, UserRateThrottle
from rest_framework.views import exception_handler as drf_exception_handler

from core.errors import DomainError, Invalid, TooLarge, away, unstorable
from core.tables import csv_text

_CODES: dict[type[Exception], str] = {
    drf.NotAuthenticated: "auth_required",
    drf.AuthenticationFailed: "auth_failed",
    drf.PermissionDenied: "forbidden",
    PermissionDenied: "forbidden",
    drf.NotFound: "not_found",
    Http404: "not_found",
    drf.MethodNotAllowed: "method_not_allowed",
    drf.UnsupportedMediaType: "unsupported_media_type",
    drf.NotAcceptable: "not_acceptable",
    drf.ParseError: "body_unreadable",
    drf.ValidationError: "invalid",
    drf.Throttled: "rate_limited",
}


def envelope(
    data: Any = None, *, message: str = "", error: str = "", code: str = ""
) -> dict[str, Any]:
    """Return the envelope of an answer; it is a success when there is no `error`."""
    return {
        "success": not error,
        "data": {} if data is None else data,
        "message": message,
        "error": error,
        "code": code,
    }


class EnvelopeRenderer(JSONRenderer):
    """Wraps what a view returns in the envelope, unless it already is one."""

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        response = (renderer_context or {}).get("response")
        if getattr(response, "status_code", 200) == 204:
            return b""
        if not (isinstance(data, dict) and data.keys() >= {"success", "code", "error"}):
            data = envelope(data)
        return super().render(data, accepted_media_type, renderer_context)


class ShallowJSONParser(JSONParser):
    """Reads JSON; what is nested deeper than anybody can read is as unreadable as what is broken."""

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError as error:
            raise drf.ParseError("This JSON is nested too deeply.") from error


def network_of(address: str) -> str:
    """Return whom a limit counts: an IPv4 address, or the /64 of an IPv6 one, as one household has that many.

    IPv4 inside IPv6 is IPv4; what is no address stays as it is.
    """
    try:
        found = ipaddress.ip_address(address.strip())
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))


class AnonThrottle(AnonRateThrottle):
    """The library's limit of those who have not signed in, by network."""

    def get_ident(self, request: Request) -> str:
        return network_of(super().get_ident(request) or "")


class UserThrottle(UserRateThrottle):
    """The library's limit of a person; of who has not signed in, by network."""

    def get_ident(self, request: Request) -> str:
        return network_of(super().get_ident(request) or "")


def wants_csv(request: Request) -> bool:
    """Whether `?format=csv` was asked for. Raises Invalid `format_unknown`."""
    given = request.query_params.get("format", "json")
    if given not in {"json", "csv"}:
        raise Invalid("format_unknown", "It comes as json or csv; leave `format` out for json.")
    return given == "csv"


def csv_answer(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> HttpResponse:
    """Return a table as a file to save; `name` is without its ending."""
    answer = HttpResponse(csv_text(header, rows), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return answer


def refusal(error: DomainError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the JSON answer of a refusal."""
    body = envelope(error.data, error=error.message, code=error.code)
    return Response(body, status=error.status, headers=headers)


def handle_exception(exc: Exception, context: Mapping[str, Any]) -> Response | None:
    """Map every expected exception to the envelope; anything else is a bug and becomes a 500."""
    if isinstance(exc, DomainError):
        return refusal(exc)
    if isinstance(exc, DataError):
        return refusal(unstorable())
    if isinstance(exc, RequestDataTooBig):
        return refusal(TooLarge("body_too_large", "This body is larger than any request needs."))
    if isinstance(exc, (OperationalError, RedisError)):
        return refusal(away(), headers={"Retry-After": "2"})
    response = drf_exception_handler(exc, dict(context))
    if response is None:
        return None
    code = next((code for kind, code in _CODES.items() if isinstance(exc, kind)), "refused")
    fields = response.data if isinstance(exc, drf.ValidationError) else {}
    response.data = envelope(
        {"fields": fields} if fields else {}, error=_sentence(exc, fields), code=code
    )
    return response


def _sentence(exc: Exception, fields: Any) -> str:
    if isinstance(fields, dict) and fields:
        return " ".join(f"{name}: {_first(value)}" for name, value in fields.items())
    if isinstance(fields, list) and fields:
        return _first(fields)
    return _first(getattr(exc, "detail", None) or "There is no such thing here.")


def _first(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return _first(value[0]) if value else ""
    if isinstance(value, dict):
        return " ".join(f"{name}: {_first(item)}" for name, item in value.items())
    return str(value)
