"""What belongs to the whole API rather than to one app: health, the OpenAPI document, the last refusals."""

from __future__ import annotations

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.api import envelope

API = "/api/"


class HealthView(APIView):
    """Says whether this process answers and reaches its database; no details."""

    permission_classes = [AllowAny]
    authentication_classes = []
    throttle_classes = []

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return Response({"live": True, "ready": True})


class SchemaView(SpectacularAPIView):
    """The OpenAPI document, open to everyone and without our envelope."""

    permission_classes = [AllowAny]
    renderer_classes = [*SpectacularAPIView.renderer_classes, JSONRenderer]


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an address that does not exist, such as one with a broken id: below /api/ in the envelope."""
    if not request.path.startswith(API):
        return defaults.page_not_found(request, exception)
    sentence = "There is no such address. GET /api/schema/ lists those that are."
    return JsonResponse(envelope(error=sentence, code="not_found"), status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer after a bug of ours: below /api/ in the envelope, without a word about the inside."""
    if not request.path.startswith(API):
        return defaults.server_error(request)
    sentence = "Something broke on our side, and it is written down. Try again in a minute."
    return JsonResponse(envelope(error=sentence, code="internal_error"), status=500)
