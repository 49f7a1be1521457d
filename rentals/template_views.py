"""Pages of templates: what there is, one of them with its versions, and the form that makes the next."""

from __future__ import annotations

import shlex
import uuid
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from accounts.services import actor_of_request
from core.errors import DomainError, Invalid, NotFound
from rentals import services
from rentals.forms import TemplateForm
from rentals.models import Template, TemplateVersion
from rentals.writing import as_file, as_lines, from_file, from_lines


@login_required
def templates(request: HttpRequest) -> HttpResponse:
    """What can be started, by name, a page at a time."""
    after = request.GET.get("after", "")
    try:
        cursor = uuid.UUID(after) if after else None
    except ValueError as error:
        raise Invalid("cursor_invalid", "Begin again at the first page.") from error
    search, of = request.GET.get("search", ""), request.GET.get("of", "")
    page = services.templates_page(
        actor=actor_of_request(request), search=search, of=of, after=cursor
    )
    kinds = (("", "All"), ("official", "Official"), ("public", "Public"), ("mine", "Yours"))
    context = {"page": page, "search": search, "of": of, "kinds": kinds}
    return render(request, "rentals/templates.html", context)


def _call(path: str, document: str) -> str:
    """Return the line that does by API what the page does."""
    return (
        f'curl -H "X-API-Key: $KEY" -H "Content-Type: application/json" {settings.DC.public_url}'
        f"/api/v1/{path} \\\n  -d {shlex.quote(document.rstrip())}"
    )


@login_required
def template(request: HttpRequest, template_id: uuid.UUID) -> HttpResponse:
    """One template: its newest version or the one asked for, and what can be done with it."""
    actor = actor_of_request(request)
    asked = request.GET.get("version", "")
    number = int(asked) if asked.isdecimal() and len(asked) < 9 else None
    version = services.version_of(actor=actor, template_id=template_id, number=number)
    document = services.document_of(version)
    context = {
        "template": version.template,
        "version": version,
        "launch": document.launch,
        "lines": as_lines(document),
        "versions": services.versions_of(actor=actor, template=version.template),
        "mine": services.is_owner(actor, version.template),
        "call": _call("templates/", as_file(document)),
        "machines": urlencode({"template": template_id, **services.search_for(document.launch)}),
    }
    return render(request, "rentals/template.html", context)


@login_required
def template_file(request: HttpRequest, template_id: uuid.UUID, number: int) -> HttpResponse:
    """A version as a file, from which it can be made again."""
    actor = actor_of_request(request)
    version = services.version_of(actor=actor, template_id=template_id, number=number)
    document = services.document_of(version)
    name = f"{document.slug}-v{version.number}.json"
    answer = HttpResponse(as_file(document), content_type="application/json; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _form_page(
    request: HttpRequest, form: TemplateForm, template: Template | None, refused: DomainError | None
) -> HttpResponse:
    context = {"form": form, "template": template, "refused": refused}
    status = 200 if refused is None else refused.status
    return render(request, "rentals/template_form.html", context, status=status)


@login_required
def template_new(request: HttpRequest) -> HttpResponse:
    """The form of a new template, filled in by hand or from a file's text."""
    actor = actor_of_request(request)
    form, refused = TemplateForm(request.POST or None), None
    if request.method == "POST":
        text = request.POST.get("document", "")
        try:
            if text:
                form = TemplateForm()
                made = services.create_template(actor=actor, document=from_file(text))
                return redirect("template", made.pk)
            if form.is_valid():
                document = from_lines(form.cleaned_data)
                made = services.create_template(actor=actor, document=document)
                return redirect("template", made.pk)
        except DomainError as error:
            refused = error
    return _form_page(request, form, None, refused)


@login_required
def template_edit(request: HttpRequest, template_id: uuid.UUID) -> HttpResponse:
    """The form of the next version, filled in with the newest."""
    actor = actor_of_request(request)
    latest: TemplateVersion = services.version_of(actor=actor, template_id=template_id)
    if not services.is_owner(actor, latest.template):
        raise NotFound("template_unknown", "You have no such template.")
    refused = None
    if request.method == "POST":
        form = TemplateForm(request.POST)
        try:
            if form.is_valid():
                document = from_lines({**form.cleaned_data, "slug": ""})
                services.add_version(actor=actor, template_id=template_id, document=document)
                return redirect("template", template_id)
        except DomainError as error:
            refused = error
    else:
        form = TemplateForm(initial=as_lines(services.document_of(latest)))
    del form.fields["slug"]
    return _form_page(request, form, latest.template, refused)


@login_required
@require_POST
def template_action(request: HttpRequest, template_id: uuid.UUID, action: str) -> HttpResponse:
    """Do what a button of the page says."""
    actor = actor_of_request(request)
    if action in {"publish", "unpublish"}:
        services.set_public(actor=actor, template_id=template_id, public=action == "publish")
    elif action == "archive":
        services.archive_template(actor=actor, template_id=template_id)
        return redirect("templates")
    elif action == "copy":
        version = services.version_of(actor=actor, template_id=template_id)
        document = services.document_of(version)
        made = services.create_template(actor=actor, document=document)
        return redirect("template", made.pk)
    else:
        raise NotFound("action_unknown", "There is no such action.")
    return redirect("template", template_id)
