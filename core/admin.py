"""What staff may only look at; changes go through services, which write down who made them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from core.errors import DomainError
from core.ids import new_id

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Model]
else:  # not generic at run time
    ModelAdmin = admin.ModelAdmin


class GiveForm(ActionForm):
    """Beside an action that gives money: how much, why, and a key that makes a doubled click one."""

    amount = forms.CharField(max_length=40, required=False, label="Amount")
    note = forms.CharField(max_length=400, required=False, label="Reason")
    once = forms.CharField(max_length=64, widget=forms.HiddenInput, initial=lambda: str(new_id()))


def each(
    model_admin: ModelAdmin,
    request: HttpRequest,
    rows: QuerySet[Any],
    decide: Callable[[Any, str], object],
) -> None:
    """Decide about each chosen row through a service, given its key; tell what came of each.

    `decide` gets the primary key and a key that is the same when the form is sent twice.
    """
    once = request.POST.get("once", "")
    for pk in list(rows.values_list("pk", flat=True)):
        try:
            decide(pk, f"admin:{once}:{pk}" if once else "")
        except DomainError as error:
            model_admin.message_user(request, f"{pk}: {error.message}", messages.ERROR)
        else:
            model_admin.message_user(request, f"{pk}: done.")


class ReadOnlyAdmin(ModelAdmin):
    """Staff may look."""

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
