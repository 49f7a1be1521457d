"""Who calls the API, and the JSON doors of one's own account."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import services, vault
from accounts.actors import Actor
from accounts.models import ApiKey, Secret, SshKey, User
from accounts.presenting import chosen_out, cursor_from, notice_out
from accounts.services import Choice
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


class NoticeListView(APIView):
    """What the caller was told, newest first; `next` is the `before` of the page after, `unread` stops at 100."""

    @extend_schema(
        operation_id="notices_list",
        responses=OpenApiTypes.OBJECT,
        parameters=[OpenApiParameter("before", str)],
    )
    def get(self, request: Request) -> Response:
        actor = actor_from(request)
        before = cursor_from(request.query_params.get("before"))
        inbox = services.inbox_of(actor=actor, before=before)
        zone = services.zone_name_of(user_id=actor.user_id)
        return Response(
            {
                "rows": [notice_out(notice, zone) for notice in inbox.rows],
                "next": None if inbox.next_before is None else str(inbox.next_before),
                "unread": inbox.unread,
            }
        )


class NoticeReadView(APIView):
    """Say that one notice was read."""

    @extend_schema(request=None, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, notice_id: int) -> Response:
        actor = actor_from(request)
        notice = services.read_notice(actor=actor, notice_id=notice_id)
        return Response(notice_out(notice, services.zone_name_of(user_id=actor.user_id)))


class NoticesIn(serializers.Serializer[Any]):
    until = serializers.CharField(
        required=False, help_text="The id of the newest one that was seen; without it, all are."
    )


class NoticesReadView(APIView):
    """Say that everything was read."""

    @extend_schema(request=NoticesIn, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request) -> Response:
        body = NoticesIn(data=request.data)
        body.is_valid(raise_exception=True)
        until = cursor_from(body.validated_data.get("until"))
        return Response({"read": services.read_notices(actor=actor_from(request), until=until)})


class ChoiceIn(serializers.Serializer[Any]):
    code = serializers.CharField(max_length=40)
    channel = serializers.CharField(max_length=10)
    on = serializers.BooleanField()


class ChoicesIn(serializers.Serializer[Any]):
    choices = ChoiceIn(many=True, required=False)
    time_zone = serializers.CharField(max_length=64, required=False, allow_blank=True)


class NoticeChoicesView(APIView):
    """Which notices reach the caller, through which channels, by whose clock; PUT changes what it names."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        return Response(self._told(actor_from(request)))

    @extend_schema(request=ChoicesIn, responses=OpenApiTypes.OBJECT)
    def put(self, request: Request) -> Response:
        actor = actor_from(request)
        body = ChoicesIn(data=request.data)
        body.is_valid(raise_exception=True)
        services.choose_notices(
            actor=actor,
            choices=[Choice(**choice) for choice in body.validated_data.get("choices", [])],
            zone=body.validated_data.get("time_zone"),
        )
        return Response(self._told(actor))

    def _told(self, actor: Actor) -> dict[str, Any]:
        rows = services.choices_of(actor=actor)
        return {
            "choices": [chosen_out(row) for row in rows],
            "time_zone": services.zone_name_of(user_id=actor.user_id) or "UTC",
        }


class ValueIn(serializers.Serializer[Any]):
    value = serializers.CharField(trim_whitespace=False, write_only=True)


class SecretIn(ValueIn):
    name = serializers.CharField()
    registry_host = serializers.CharField(
        required=False, help_text="With it, `value` is the password of `registry_user` there."
    )
    registry_user = serializers.CharField(required=False)


def secret_out(secret: Secret) -> dict[str, Any]:
    """Return everything of a secret but its value."""
    return {
        "id": str(secret.pk),
        "name": secret.name,
        "registry_host": secret.registry_host or None,
        "registry_user": secret.registry_user or None,
        "version": secret.version,
        "created_at": secret.created_at,
        "changed_at": secret.changed_at,
        "last_used_at": secret.last_used_at,
    }


class SecretListView(APIView):
    """Values for containers and log-ins of registries, by name: write-only, nobody reads them again."""

    @extend_schema(operation_id="secrets_list", responses=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        return Response([secret_out(row) for row in vault.secrets_of(actor=actor_from(request))])

    @extend_schema(request=SecretIn, responses={201: OpenApiTypes.OBJECT})
    def post(self, request: Request) -> Response:
        body = SecretIn(data=request.data)
        body.is_valid(raise_exception=True)
        secret = vault.create_secret(actor=actor_from(request), **body.validated_data)
        return Response(secret_out(secret), status=status.HTTP_201_CREATED)


class SecretView(APIView):
    @extend_schema(request=ValueIn, responses=OpenApiTypes.OBJECT)
    def put(self, request: Request, secret_id: uuid.UUID) -> Response:
        """Give it another value; containers get it at their next start."""
        body = ValueIn(data=request.data)
        body.is_valid(raise_exception=True)
        secret = vault.rotate_secret(
            actor=actor_from(request), secret_id=secret_id, value=body.validated_data["value"]
        )
        return Response(secret_out(secret))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, secret_id: uuid.UUID) -> Response:
        """Forget it; what runs keeps it, what refers to it cannot start again."""
        vault.delete_secret(actor=actor_from(request), secret_id=secret_id)
        return Response(status=status.HTTP_204_NO_CONTENT)
