"""JSON doors of templates. What POST takes, GET of a version gives back as `document`."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import actor_from
from rentals import services
from rentals.launch import Document, read_document
from rentals.presenting import template_out, version_out


class DocumentIn(serializers.Serializer[Any]):
    """What a template's document holds; docs/templates.md tells every field. Read by `rentals.launch`."""

    name = serializers.CharField()
    slug = serializers.CharField(required=False)
    description = serializers.CharField(required=False)
    readme = serializers.CharField(required=False)
    launch = serializers.DictField()


def _document(request: Request) -> Document:
    return read_document(request.data)


def _page(request: Request) -> Response:
    after = serializers.UUIDField(required=False, allow_null=True)
    given = request.query_params.get("after")
    page = services.templates_page(
        actor=actor_from(request),
        search=request.query_params.get("search", ""),
        of=request.query_params.get("of", ""),
        after=after.run_validation(given) if given else None,
    )
    rows = [template_out(row) for row in page.rows]
    return Response({"rows": rows, "next": None if page.after is None else str(page.after)})


class TemplateListView(APIView):
    """Templates that the caller can start: official, published and their own ones, by name."""

    @extend_schema(
        operation_id="templates_list",
        responses=OpenApiTypes.OBJECT,
        parameters=[
            OpenApiParameter("search", str),
            OpenApiParameter("of", str, enum=["official", "public", "mine"]),
            OpenApiParameter("after", str, description="`next` of the page before"),
        ],
    )
    def get(self, request: Request) -> Response:
        return _page(request)

    @extend_schema(request=DocumentIn, responses={201: OpenApiTypes.OBJECT})
    def post(self, request: Request) -> Response:
        """Make a private template from a document, also from one that was exported."""
        actor = actor_from(request)
        made = services.create_template(actor=actor, document=_document(request))
        version = services.version_of(actor=actor, template_id=made.pk)
        return Response(version_out(version), status=status.HTTP_201_CREATED)


class TemplateView(APIView):
    """One template with the newest version and the numbers of all that the caller may see."""

    @extend_schema(operation_id="templates_read", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, template_id: uuid.UUID) -> Response:
        actor = actor_from(request)
        newest = services.version_of(actor=actor, template_id=template_id)
        versions = services.versions_of(actor=actor, template=newest.template)
        told = version_out(newest)
        return Response({**told, "versions": [version.number for version in versions]})


class TemplateVersionListView(APIView):
    @extend_schema(request=DocumentIn, responses={201: OpenApiTypes.OBJECT})
    def post(self, request: Request, template_id: uuid.UUID) -> Response:
        """Make the next version; rentals keep the one that they were made from."""
        version = services.add_version(
            actor=actor_from(request), template_id=template_id, document=_document(request)
        )
        return Response(version_out(version), status=status.HTTP_201_CREATED)


class TemplateVersionView(APIView):
    """One version; its `document` makes it again, exactly."""

    @extend_schema(operation_id="templates_version_read", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, template_id: uuid.UUID, number: int) -> Response:
        version = services.version_of(
            actor=actor_from(request), template_id=template_id, number=number
        )
        return Response(version_out(version))


class TemplatePublicView(APIView):
    """POST shows it to everybody from the newest version on (`public`), or to its owner only (`not`)."""

    public = True

    @extend_schema(request=None, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, template_id: uuid.UUID) -> Response:
        template = services.set_public(
            actor=actor_from(request), template_id=template_id, public=self.public
        )
        return Response(template_out(template))


class TemplateArchiveView(APIView):
    """POST puts it away: nothing new is rented from it, what runs goes on."""

    @extend_schema(request=None, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, template_id: uuid.UUID) -> Response:
        template = services.archive_template(actor=actor_from(request), template_id=template_id)
        return Response(template_out(template))
