"""What belongs to the whole API rather than to one app: health and the OpenAPI document."""

from __future__ import annotations

from django.db import connection
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


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
