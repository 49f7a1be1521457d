"""The platform's web application with one view more that does nothing: the floor of every endpoint."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from marketplace.asgi import application
from marketplace.urls import urlpatterns


def empty(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns.insert(0, path("empty/", empty))
__all__ = ["application"]
