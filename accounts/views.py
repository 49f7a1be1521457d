"""Pages of one's own keys and notifications."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts import services, vault
from accounts.forms import NameForm, SecretForm, SshKeyForm, ZoneForm
from accounts.models import ApiKey
from accounts.presenting import cursor_from, groups_of, rows_of
from accounts.services import Choice
from core.errors import DomainError


@login_required
def ssh_keys(request: HttpRequest) -> HttpResponse:
    """The keys that machines let in, and a form for another."""
    actor = services.actor_of_request(request)
    form = SshKeyForm(request.POST or None)
    refused: DomainError | None = None
    if request.method == "POST" and form.is_valid():
        try:
            services.add_ssh_key(actor=actor, **form.cleaned_data)
            return redirect(_next(request))
        except DomainError as error:
            refused = error
    context = {"keys": services.ssh_keys_of(actor=actor), "form": form, "refused": refused}
    status = refused.status if refused else 200
    return render(request, "accounts/ssh_keys.html", context, status=status)


def _next(request: HttpRequest) -> str:
    wanted = request.GET.get("next", "")
    if url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()}):
        return wanted
    return request.path


@login_required
@require_POST
def ssh_key_remove(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Forget a key."""
    services.remove_ssh_key(actor=services.actor_of_request(request), key_id=key_id)
    return redirect("ssh_keys")


@login_required
def api_keys(request: HttpRequest) -> HttpResponse:
    """Keys for programs; a new one is shown once, in the answer to the form."""
    actor = services.actor_of_request(request)
    form = NameForm(request.POST or None)
    plain = ""
    if request.method == "POST" and form.is_valid():
        _, plain = services.create_api_key(actor=actor, name=form.cleaned_data["name"])
    keys = ApiKey.objects.visible_to(actor).order_by("created_at")
    return render(request, "accounts/api_keys.html", {"keys": keys, "form": form, "plain": plain})


@login_required
@require_POST
def api_key_revoke(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Make a key useless."""
    services.revoke_api_key(actor=services.actor_of_request(request), key_id=key_id)
    return redirect("api_keys")


@login_required
def notices(request: HttpRequest) -> HttpResponse:
    """What one was told, newest first."""
    actor = services.actor_of_request(request)
    inbox = services.inbox_of(actor=actor, before=cursor_from(request.GET.get("before")))
    zone = services.zone_name_of(user_id=actor.user_id)
    context = {
        "rows": rows_of(inbox.rows, zone),
        "next": inbox.next_before,
        "count": inbox.unread,
        "newest": inbox.rows[0].pk if inbox.rows else None,
        "before": request.GET.get("before", ""),
    }
    return render(request, "accounts/notices.html", context)


@login_required
def notices_bell(request: HttpRequest) -> HttpResponse:
    """The part of the header that counts what is not read."""
    return render(request, "accounts/_bell.html")


@login_required
@require_POST
def notices_read(request: HttpRequest) -> HttpResponse:
    """Say that everything up to the newest that was on the page was read."""
    until = cursor_from(request.POST.get("until") or None)
    services.read_notices(actor=services.actor_of_request(request), until=until)
    return redirect("notices")


@login_required
def notice(request: HttpRequest, notice_id: int) -> HttpResponse:
    """Open what a notification is about; it is read with that."""
    found = services.read_notice(actor=services.actor_of_request(request), notice_id=notice_id)
    return redirect(services.word(found).path)


@login_required
def notice_choices(request: HttpRequest) -> HttpResponse:
    """One row of switches for each thing one can be told."""
    actor = services.actor_of_request(request)
    form = ZoneForm(
        request.POST or None, initial={"zone": services.zone_name_of(user_id=actor.user_id)}
    )
    if request.method == "POST" and form.is_valid():
        switched = set(request.POST.getlist("on"))
        choices = [
            Choice(row.entry.code, channel, f"{row.entry.code}.{channel}" in switched)
            for row in services.choices_of(actor=actor)
            for channel, on in row.channels.items()
            if channel not in row.entry.fixed and on != (f"{row.entry.code}.{channel}" in switched)
        ]
        services.choose_notices(actor=actor, choices=choices, zone=form.cleaned_data["zone"])
        messages.success(request, "Saved.")
        return redirect("notice_choices")
    context = {"groups": groups_of(services.choices_of(actor=actor)), "form": form}
    return render(request, "accounts/notice_choices.html", context)


def _value(text: str) -> str:
    # Browsers send line ends in the manner of DOS; a key that was pasted has none of them.
    return text.replace("\r\n", "\n")


@login_required
@sensitive_post_parameters("value")
def secrets(request: HttpRequest) -> HttpResponse:
    """Everything of one's secrets but the values, and a form for another."""
    actor = services.actor_of_request(request)
    form = SecretForm(request.POST or None)
    refused: DomainError | None = None
    if request.method == "POST" and form.is_valid():
        told = {**form.cleaned_data, "value": _value(form.cleaned_data["value"])}
        try:
            vault.create_secret(actor=actor, **told)
            return redirect("secrets")
        except DomainError as error:
            refused = error
    if form.is_bound:
        # What was typed is shown again, but for the value.
        form.data = {**request.POST.dict(), "value": ""}
    context = {"secrets": vault.secrets_of(actor=actor), "form": form, "refused": refused}
    status = refused.status if refused else 200
    return render(request, "accounts/secrets.html", context, status=status)


@login_required
@require_POST
@sensitive_post_parameters("value")
def secret_rotate(request: HttpRequest, secret_id: uuid.UUID) -> HttpResponse:
    """Give a secret another value."""
    actor = services.actor_of_request(request)
    vault.rotate_secret(
        actor=actor, secret_id=secret_id, value=_value(request.POST.get("value", ""))
    )
    return redirect("secrets")


@login_required
@require_POST
def secret_delete(request: HttpRequest, secret_id: uuid.UUID) -> HttpResponse:
    """Forget a secret."""
    vault.delete_secret(actor=services.actor_of_request(request), secret_id=secret_id)
    return redirect("secrets")
