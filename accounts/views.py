"""Pages of one's own keys."""

from __future__ import annotations

import uuid

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from accounts import services
from accounts.forms import NameForm, SshKeyForm
from accounts.models import ApiKey
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
