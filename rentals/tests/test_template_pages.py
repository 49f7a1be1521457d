"""Pages of templates and secrets: what they show, what their buttons do, and whose they are."""

from __future__ import annotations

from typing import Any

import pytest

from accounts import vault
from accounts.models import Secret
from rentals import services
from rentals.launch import read_document
from rentals.models import Template, TemplateVersion
from rentals.writing import as_lines
from tests import cast
from tests.doors import pages_of

pytestmark = pytest.mark.django_db
DOCUMENT = {
    "name": "My <b>work</b>",
    "slug": "work",
    "description": "what it does",
    "readme": "Read <i>me</i>.",
    "launch": {
        "image": "debian:12",
        "command": ["sh", "-c", "sleep 1"],
        "env": {"A": "x=y\n'z'"},
        "secrets": {"T": "token"},
        "registry_login": "door",
        "ports": [{"port": 8888, "kind": "http", "label": "web"}],
        "start_script": "echo hi\n",
        "minimum": {"gpus": 1, "vram_mib": 2, "cuda": 1240, "cpu_cores": 3, "memory_mib": 4},
    },
}


def form(**changes: Any) -> dict[str, Any]:
    return {**as_lines(read_document(DOCUMENT)), **changes}


def test_a_template_is_made_by_form_shown_and_versioned() -> None:
    alice = cast.person("alice")
    browser = pages_of(alice)
    assert browser.get("/templates/new/").status_code == 200
    made = browser.post("/templates/new/", form())
    template = Template.objects.get()
    assert (made.status_code, made.headers["Location"]) == (302, f"/templates/{template.pk}/")
    version = services.version_of(actor=alice, template_id=template.pk)
    assert services.document_of(version) == read_document(DOCUMENT)
    page = browser.get(f"/templates/{template.pk}/").content.decode()
    for words in (
        "My &lt;b&gt;work",
        "sh -c",
        "token",
        "8888 http web",
        "echo hi",
        "Read &lt;i&gt;",
    ):
        assert words in page
    assert "<b>work" not in page
    edit = browser.get(f"/templates/{template.pk}/edit/").content.decode()
    assert "debian:12" in edit
    changed = browser.post(f"/templates/{template.pk}/edit/", form(command="other", slug=""))
    assert changed.status_code == 302
    assert TemplateVersion.objects.count() == 2
    assert "version=1" in browser.get(f"/templates/{template.pk}/").content.decode()
    first = browser.get(f"/templates/{template.pk}/?version=1").content.decode()
    assert "Version 1 of 2" in " ".join(first.split())


def test_a_form_that_is_refused_says_why_and_keeps_what_was_typed() -> None:
    browser = pages_of(cast.person("alice"))
    answer = browser.post("/templates/new/", form(env="1A=x"))
    page = answer.content.decode()
    assert (answer.status_code, "template_env_name" in page, "1A=x" in page) == (400, True, True)
    assert browser.post("/templates/new/", form(disk_gb="")).status_code == 200
    browser.post("/templates/new/", form())
    path = f"/templates/{Template.objects.get().pk}/edit/"
    assert browser.post(path, form(image="NO")).status_code == 400
    assert TemplateVersion.objects.count() == 1


def test_a_file_goes_out_and_comes_in_by_page() -> None:
    alice, carol = cast.person("alice"), cast.person("carol")
    template = services.create_template(actor=alice, document=read_document(DOCUMENT))
    answer = pages_of(alice).get(f"/templates/{template.pk}/versions/1/file/")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="work-v1.json"'
    text = answer.content.decode()
    browser = pages_of(carol)
    assert browser.post("/templates/new/", {"document": text}).status_code == 302
    hers = Template.objects.get(owner_id=carol.user_id)
    copy = services.version_of(actor=carol, template_id=hers.pk)
    assert services.document_of(copy) == read_document(DOCUMENT)
    for unreadable in ("{", "[" * 200_000):
        assert browser.post("/templates/new/", {"document": unreadable}).status_code == 400
    assert Template.objects.filter(owner_id=carol.user_id).count() == 1


def test_buttons_publish_copy_unpublish_and_archive() -> None:
    alice, carol = cast.person("alice"), cast.person("carol")
    template = services.create_template(actor=alice, document=read_document(DOCUMENT))
    hers, his = pages_of(alice), pages_of(carol)
    path = f"/templates/{template.pk}/"
    assert his.get(path).status_code == 404
    assert his.post(f"{path}publish/").status_code == 404
    assert "Publish" in hers.get(path).content.decode()
    assert hers.post(f"{path}publish/").status_code == 302
    page = his.get(path).content.decode()
    assert ("Copy to my templates" in page, "Archive" in page) == (True, False)
    assert his.get(f"{path}edit/").status_code == 404
    copied = his.post(f"{path}copy/")
    assert copied.status_code == 302
    assert Template.objects.filter(owner_id=carol.user_id).count() == 1
    assert "Unpublish" in hers.get(path).content.decode()
    hers.post(f"{path}unpublish/")
    assert his.get(path).status_code == 404
    assert hers.post(f"{path}explode/").status_code == 404
    assert hers.post(f"{path}archive/").headers["Location"] == "/templates/"
    assert Template.objects.get(pk=template.pk).archived_at is not None
    assert "Archived" in hers.get(path).content.decode()


def test_the_list_is_searched_and_turned() -> None:
    alice = cast.person("alice")
    for number in range(51):
        named = {**DOCUMENT, "name": f"Number {number:02}", "slug": f"n-{number}"}
        services.create_template(actor=alice, document=read_document(named))
    browser = pages_of(alice)
    page = browser.get("/templates/?of=mine")
    assert "Number 49" in page.content.decode()
    after = page.context["page"].after
    assert "Number 50" in browser.get(f"/templates/?of=mine&after={after}").content.decode()
    assert "Next page" not in browser.get("/templates/?search=Number 3").content.decode()
    assert "Nothing fits" in browser.get("/templates/?search=nothing").content.decode()
    assert browser.get("/templates/?after=x").status_code == 400


def test_secrets_are_added_replaced_and_deleted_by_page_and_never_shown() -> None:
    alice, carol = cast.person("alice"), cast.person("carol")
    browser = pages_of(alice)
    added = browser.post("/secrets/", {"name": "token", "value": "canary\r\ntwo"})
    secret = Secret.objects.get()
    assert added.headers["Location"] == "/secrets/"
    assert vault.reveal([secret.pk]) == {secret.pk: "canary\ntwo"}
    login = {"name": "r", "value": "canary", "registry_host": "h:1", "registry_user": "al"}
    browser.post("/secrets/", login)
    page = browser.get("/secrets/").content.decode()
    assert ("token" in page, "log-in of al at h:1" in page, "canary" in page) == (True, True, False)
    refused = browser.post("/secrets/", {"name": "token", "value": "canary"})
    shown = refused.content.decode()
    assert (refused.status_code, "secret_name_taken" in shown, "canary" in shown) == (
        409,
        True,
        False,
    )
    assert pages_of(carol).post(f"/secrets/{secret.pk}/value/", {"value": "x"}).status_code == 404
    assert browser.post(f"/secrets/{secret.pk}/value/", {"value": ""}).status_code == 400
    assert browser.post(f"/secrets/{secret.pk}/value/", {"value": "new"}).status_code == 302
    assert vault.reveal([secret.pk]) == {secret.pk: "new"}
    assert pages_of(carol).post(f"/secrets/{secret.pk}/delete/").status_code == 404
    assert browser.post(f"/secrets/{secret.pk}/delete/").status_code == 302
    assert [row.name for row in vault.secrets_of(actor=alice)] == ["r"]
