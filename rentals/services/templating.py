"""Templates: made, versioned, shown to others or not, put away. A version never changes."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet, Sum
from django.utils.text import slugify

from accounts.actors import Actor
from accounts.models import User
from audit import services as audit
from core import clock
from core.errors import Conflict, Forbidden, Invalid, NotFound
from rentals.launch import Document, as_json, read_launch
from rentals.services.launching import require_outside
from rentals.templates import Template, TemplateVersion, Visibility

MAX_TEMPLATES, MAX_VERSIONS = 200, 1000
PAGE = 50
MAX_SEARCH_CHARS = 100


@dataclass(frozen=True)
class Page:
    """Some templates by name; `after` is passed on for the next ones, None at the end."""

    rows: list[Template]
    after: uuid.UUID | None


def templates_page(
    *, actor: Actor, search: str = "", of: str = "", after: uuid.UUID | None = None
) -> Page:
    """Return the templates that somebody may start, by name.

    `of` narrows them to "official", "public" or "mine". Raises Invalid `template_search`, `cursor_invalid`.
    """
    found = Template.objects.visible_to(actor).filter(archived_at=None).order_by("name", "id")
    if of == "mine":
        found = found.filter(owner_id=actor.user_id)
    elif of in {Visibility.OFFICIAL, Visibility.PUBLIC}:
        found = found.filter(visibility=of)
    elif of:
        raise Invalid(
            "template_search", "Ask for official, public or mine, or leave it out for all."
        )
    if len(search) > MAX_SEARCH_CHARS or "\x00" in search:
        raise Invalid("template_search", f"Search for at most {MAX_SEARCH_CHARS} characters.")
    for word in search.split():
        found = found.filter(
            Q(name__icontains=word) | Q(slug__icontains=word) | Q(description__icontains=word)
        )
    if after is not None:
        last = Template.objects.visible_to(actor).filter(pk=after).first()
        if last is None:
            raise Invalid("cursor_invalid", "Pass on `next` as it was given, or leave it out.")
        found = found.filter(Q(name__gt=last.name) | Q(name=last.name, pk__gt=last.pk))
    rows = list(found[: PAGE + 1])
    return Page(rows[:PAGE], rows[PAGE - 1].pk if len(rows) > PAGE else None)


def startable_templates(*, actor: Actor | None, also: str = "") -> QuerySet[Template]:
    """Return what a form offers to start: official ones, the actor's own, and the one named by id."""
    found = Template.objects.filter(archived_at=None).order_by("name", "id")
    if actor is None:
        return found.filter(owner=None)
    try:
        named = Q(pk=uuid.UUID(also), visibility=Visibility.PUBLIC)
    except ValueError:
        named = Q(pk=None)
    return found.filter(Q(owner=None) | Q(owner_id=actor.user_id) | named)


def visible_template(*, actor: Actor, template_id: uuid.UUID) -> Template:
    """Return a template that the actor may see; of those put away, only their own. Raises NotFound."""
    found = Template.objects.visible_to(actor).filter(pk=template_id).first()
    if found is None or (found.archived_at is not None and not is_owner(actor, found)):
        raise NotFound("template_unknown", "There is no such template.")
    return found


def is_owner(actor: Actor, template: Template) -> bool:
    """Whether the actor may change this template."""
    return template.owner_id == actor.user_id or (template.owner_id is None and actor.is_staff)


def versions_of(*, actor: Actor, template: Template) -> list[TemplateVersion]:
    """Return the versions that the actor may see, newest first: strangers see none from before it was public.

    Numbers, names and times only: what a version holds comes one by one (`version_of`).
    """
    found = _versions_seen(actor, template).order_by("-number")
    return list(found.defer("readme", "launch", "description"))


def _versions_seen(actor: Actor, template: Template) -> QuerySet[TemplateVersion]:
    found: QuerySet[TemplateVersion] = template.versions.select_related("template")
    if template.owner_id is not None and not is_owner(actor, template) and not actor.is_staff:
        found = found.filter(number__gte=template.public_from or template.latest)
    return found


def version_of(
    *, actor: Actor, template_id: uuid.UUID, number: int | None = None
) -> TemplateVersion:
    """Return one version, the newest for None. Raises NotFound `template_unknown`, `template_version_unknown`."""
    template = visible_template(actor=actor, template_id=template_id)
    wanted = template.latest if number is None else number
    version = _versions_seen(actor, template).filter(number=wanted).first()
    if version is not None:
        return version
    raise NotFound("template_version_unknown", f"{template.name} has no version {wanted}.")


def document_of(version: TemplateVersion) -> Document:
    """Return a version as a document from which it can be made again, exactly."""
    return Document(
        name=version.name,
        slug=version.template.slug,
        description=version.description,
        readme=version.readme,
        launch=read_launch(version.launch),
    )


@transaction.atomic
def create_template(*, actor: Actor, document: Document) -> Template:
    """Make a private template with its first version.

    Raises Conflict `template_slug_taken`, `template_limit`, `template_storage_limit`; Invalid `template_image_host`.
    """
    actor.require("template:manage")
    User.objects.lock().get(pk=actor.user_id)
    owned = Template.objects.filter(owner_id=actor.user_id, archived_at=None)
    if owned.count() >= MAX_TEMPLATES:
        raise Conflict("template_limit", f"You have {MAX_TEMPLATES} templates. Archive one first.")
    slug = document.slug or _slug_of(document.name)
    try:
        with transaction.atomic():
            template = Template.objects.create(
                owner_id=actor.user_id,
                slug=slug,
                visibility=Visibility.PRIVATE,
                name=document.name,
                description=document.description,
                created_at=clock.now(),
            )
    except IntegrityError as error:
        raise Conflict(
            "template_slug_taken",
            f"You have a template called {slug}. Choose another slug, or make a new version of that one.",
        ) from error
    _write_version(template, document)
    _record(actor, template, "template.created")
    return template


@transaction.atomic
def add_version(*, actor: Actor, template_id: uuid.UUID, document: Document) -> TemplateVersion:
    """Make the next version, which is rented by default from now on; rentals keep theirs.

    Raises Conflict `template_limit`, `template_storage_limit`, `template_archived`; NotFound `template_unknown`;
    Invalid `template_image_host`.
    """
    template = _mine(actor, template_id)
    if template.archived_at is not None:
        raise Conflict("template_archived", "This template has been put away.")
    if template.latest >= MAX_VERSIONS:
        raise Conflict("template_limit", f"It has {MAX_VERSIONS} versions. Make another template.")
    template.latest += 1
    template.name, template.description = document.name, document.description
    template.save(update_fields=["latest", "name", "description"])
    version = _write_version(template, document)
    _record(actor, template, "template.versioned")
    return version


@transaction.atomic
def set_public(*, actor: Actor, template_id: uuid.UUID, public: bool) -> Template:
    """Show a template to everybody from this version on, or to its owner only; rentals keep theirs."""
    template = _mine(actor, template_id)
    if template.owner_id is None:
        raise Forbidden("template_official", "An official template is always public.")
    if template.archived_at is not None:
        raise Conflict("template_archived", "This template has been put away.")
    template.visibility = Visibility.PUBLIC if public else Visibility.PRIVATE
    template.public_from = template.latest if public else None
    template.save(update_fields=["visibility", "public_from"])
    _record(actor, template, "template.published" if public else "template.unpublished")
    return template


@transaction.atomic
def archive_template(*, actor: Actor, template_id: uuid.UUID) -> Template:
    """Put a template away: nothing new is rented from it, and what runs goes on. Harmless when repeated."""
    template = _mine(actor, template_id)
    if template.archived_at is None:
        template.archived_at = clock.now()
        # Its name is free for another one.
        template.slug = f"{template.slug[:50]}-{template.pk.hex[:8]}"
        template.save(update_fields=["archived_at", "slug"])
        _record(actor, template, "template.archived")
    return template


@transaction.atomic
def upsert_official_template(*, actor: Actor, document: Document) -> Template:
    """Make an official template of this slug exist in this state: a new version only when it differs."""
    actor.require("template:official")
    template, is_new = Template.objects.lock().get_or_create(
        slug=document.slug,
        owner=None,
        defaults={
            "visibility": Visibility.OFFICIAL,
            "name": document.name,
            "description": document.description,
            "created_at": clock.now(),
        },
    )
    if is_new:
        _write_version(template, document)
        _record(actor, template, "template.created")
    elif document_of(template.versions.get(number=template.latest)) != document:
        add_version(actor=actor, template_id=template.pk, document=document)
        template.refresh_from_db()
    return template


def _slug_of(name: str) -> str:
    return re.sub("[-_]+", "-", slugify(name))[:60].strip("-") or "template"


def _mine(actor: Actor, template_id: uuid.UUID) -> Template:
    actor.require("template:manage")
    found = Template.objects.all() if actor.kind == "system" else Template.objects.of_owner(actor)
    template = found.lock().filter(pk=template_id).first()
    if template is None:
        raise NotFound("template_unknown", "You have no such template.")
    return template


def _write_version(template: Template, document: Document) -> TemplateVersion:
    size = _size_of(document)
    if template.owner_id is not None:
        # Official ones are the platform's own word.
        require_outside(document.launch.image)
        _require_room(template.owner_id, size)
    return TemplateVersion.objects.create(
        template=template,
        number=template.latest,
        name=document.name,
        description=document.description,
        readme=document.readme,
        launch=as_json(document.launch),
        size=size,
        created_at=clock.now(),
    )


def _size_of(document: Document) -> int:
    """Return what a version of a document takes, in bytes."""
    words = (document.name, document.description, document.readme)
    launch = json.dumps(as_json(document.launch), ensure_ascii=False)
    return sum(len(text.encode()) for text in (*words, launch))


def _require_room(owner_id: uuid.UUID, size: int) -> None:
    """Raise Conflict `template_storage_limit`, unless so many bytes more fit; holds the owner's lock from here on."""
    User.objects.lock().get(pk=owner_id)
    stored = TemplateVersion.objects.filter(template__owner_id=owner_id)
    held = stored.aggregate(held=Sum("size"))["held"] or 0
    most = settings.DC.template_mib * 2**20
    if held + size > most:
        raise Conflict(
            "template_storage_limit",
            f"Your templates hold {held} of {most} bytes, all versions and archived ones together, and this takes "
            f"{size}. Make it smaller, for what is stored stays, or ask the platform for more room.",
        )


def _record(actor: Actor, template: Template, verb: str) -> None:
    audit.record(
        actor=actor,
        verb=verb,
        subject_type="template",
        subject_id=template.pk,
        data={"slug": template.slug, "version": template.latest},
    )
