"""Who calls the API, and the JSON doors of one's own account."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import services
from accounts.actors import Actor
from accounts.models import ApiKey, SshKey, User
from core.errors import Unauthenticated


def actor_from(request: Request) -> Actor:
    """Return who calls; raises Unauthenticated `auth_required`."""
    user = request.user
    if not isinstance(user, User):
        raise Unauthenticated("auth_required", "Sign in, or send an API key in X-API-Key.")
    scopes = request.auth if isinstance(request.auth, list) else None
    return services.actor_of(user, scopes)


class MeView(APIView):
    """Who the caller is and what they may do."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        user = User.objects.get(pk=actor.user_id)
        return Response(
            {
                "id": str(user.pk),
                "email": user.email,
                "name": user.name,
                "role": user.role,
                "permissions": sorted(actor.permissions),
            }
        )


class SshKeyIn(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=80)
    public_key = serializers.CharField(max_length=20_000)


def ssh_key_out(key: SshKey) -> dict[str, Any]:
    return {
        "id": str(key.pk),
        "name": key.name,
        "fingerprint": key.fingerprint,
        "public_key": key.public_key,
        "created_at": key.created_at,
    }


class SshKeyListView(APIView):
    @extend_schema(operation_id="ssh_keys_list", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("ssh_key:manage")
        return Response([ssh_key_out(key) for key in services.ssh_keys_of(actor=actor)])

    @extend_schema(request=SshKeyIn, responses={201: OpenApiTypes.OBJECT})
    def post(self, request: Request) -> Response:
        body = SshKeyIn(data=request.data)
        body.is_valid(raise_exception=True)
        key = services.add_ssh_key(actor=actor_from(request), **body.validated_data)
        return Response(ssh_key_out(key), status=status.HTTP_201_CREATED)


class SshKeyView(APIView):
    @extend_schema(responses={204: None})
    def delete(self, request: Request, key_id: uuid.UUID) -> Response:
        services.remove_ssh_key(actor=actor_from(request), key_id=key_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ApiKeyIn(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=80)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=40), required=False, max_length=40
    )


def api_key_out(key: ApiKey) -> dict[str, Any]:
    return {
        "id": str(key.pk),
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "revoked": key.revoked_at is not None,
    }


class ApiKeyListView(APIView):
    """Keys for programs; the plain key is in the answer to POST, once."""

    @extend_schema(operation_id="api_keys_list", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        actor.require("api_key:manage")
        keys = ApiKey.objects.visible_to(actor).order_by("created_at")
        return Response([api_key_out(key) for key in keys])

    @extend_schema(request=ApiKeyIn, responses={201: OpenApiTypes.OBJECT})
    def post(self, request: Request) -> Response:
        body = ApiKeyIn(data=request.data)
        body.is_valid(raise_exception=True)
        key, plain = services.create_api_key(
            actor=actor_from(request),
            name=body.validated_data["name"],
            scopes=body.validated_data.get("scopes"),
        )
        return Response({**api_key_out(key), "key": plain}, status=status.HTTP_201_CREATED)


class ApiKeyView(APIView):
    @extend_schema(responses={204: None})
    def delete(self, request: Request, key_id: uuid.UUID) -> Response:
        services.revoke_api_key(actor=actor_from(request), key_id=key_id)
        return Response(status=status.HTTP_204_NO_CONTENT)
