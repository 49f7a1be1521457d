"""The shop window."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from nodes import queries


def landing(request: HttpRequest) -> HttpResponse:
    """The first page: what can be rented now."""
    return render(request, "marketplace/landing.html", {"offers": queries.listed_offers()[:50]})
