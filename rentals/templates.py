"""What can be started: templates and their versions, which never change."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Self

from django.conf import settings
from django.db import models
from django.db.models import Q

from core.ids import new_id
from rentals.launch import Launch, read_launch

if TYPE_CHECKING:
    from accounts.actors import Actor


class Visibility(models.TextChoices):
    OFFICIAL = "official", "Official"
    PUBLIC = "public", "Public"
    PRIVATE = "private", "Private"


class TemplateQuerySet(models.QuerySet["Template"]):
    def visible_to(self, actor: Actor) -> Self:
        """Official and published templates, and this person's own (staff: all)."""
        if actor.is_staff:
            return self
        return self.filter(
            Q(visibility__in=[Visibility.OFFICIAL, Visibility.PUBLIC]) | Q(owner_id=actor.user_id)
        )

    def of_owner(self, actor: Actor) -> Self:
        """Templates that this actor may change (staff: the official ones and their own)."""
        mine = Q(owner_id=actor.user_id)
        return self.filter(mine | Q(owner=None)) if actor.is_staff else self.filter(mine)

    def lock(self) -> Self:
        """Lock templates, so that two changes never make one version number."""
        return self.select_for_update(no_key=True, of=("self",)).order_by("pk")


class Template(models.Model):
    """A name under which versions stand. Official ones have no owner; `latest` is what is rented by default."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="templates"
    )
    slug = models.SlugField(max_length=60)
    visibility = models.CharField(max_length=10, choices=Visibility.choices)
    # Of the newest version, for lists and searches.
    name = models.CharField(max_length=80)
    description = models.CharField(max_length=400, blank=True, default="")
    latest = models.PositiveIntegerField(default=1)
    # Others see versions from this one on: what was written before was not meant for them.
    public_from = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField()
    archived_at = models.DateTimeField(null=True, blank=True)

    objects = TemplateQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "slug"], name="template_slug_once_per_owner", nulls_distinct=False
            ),
            models.CheckConstraint(
                condition=Q(owner=None, visibility="official")
                | Q(owner__isnull=False, visibility__in=["public", "private"]),
                name="template_official_has_no_owner",
            ),
        ]
        indexes = [
            # Serves rentals.services.templating.templates_page.
            models.Index(fields=["name", "id"], name="template_by_name"),
        ]

    def __str__(self) -> str:
        return self.name


class TemplateVersion(models.Model):
    """One state of a template, for ever: the database refuses to change it. `launch` as rentals.launch reads it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    template = models.ForeignKey(Template, models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=80)
    description = models.CharField(max_length=400, blank=True, default="")
    readme = models.TextField(blank=True, default="")
    launch = models.JSONField()
    # What it takes, in bytes of UTF-8: all that one owner stores has a limit.
    size = models.PositiveIntegerField()
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["template", "number"], name="template_version_number_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.number}"

    @cached_property
    def spec(self) -> Launch:
        """The launch, read."""
        return read_launch(self.launch)
