"""Where a DomainError becomes a page: the one mapping for server-rendered views."""

from __future__ import annotations

from collections.abc import Callable

from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from redis.exceptions import RedisError

from core.errors import DomainError, away, unstorable

GetResponse = Callable[[HttpRequest], HttpResponse]


class DomainErrorMiddleware:
    """Shows a refusal as a page with its sentence, its code and its HTTP status."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, DataError):
            exception = unstorable()
        elif isinstance(exception, RedisError):
            exception = away()
        if not isinstance(exception, DomainError):
            return None
        answer = render(request, "error.html", {"error": exception}, status=exception.status)
        if "retry_after" in exception.data:
            answer["Retry-After"] = str(exception.data["retry_after"])
        return answer
