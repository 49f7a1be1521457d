"""Clients of the two HTTP doors, signed in as one of the cast."""

from __future__ import annotations

from typing import Any

from django.test import Client
from rest_framework.test import APIClient

from accounts.actors import Actor
from accounts.models import User


def api_of(actor: Actor) -> APIClient:
    """Return a client of /api/v1/ with this person's session."""
    client = APIClient()
    client.force_login(User.objects.get(pk=actor.user_id))
    return client


def pages_of(actor: Actor) -> Client:
    """Return a browser without JavaScript, signed in as this person."""
    client = Client()
    client.force_login(User.objects.get(pk=actor.user_id))
    return client


def refusal(answer: Any) -> tuple[int, str]:
    """Return the HTTP status and the stable code of a JSON refusal."""
    body = answer.json()
    assert body["success"] is False
    assert body["error"]
    return answer.status_code, body["code"]


__all__ = ["api_of", "pages_of", "refusal"]
