"""Templates through services and API: whose they are, that versions stay, and what they start."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, Phase, given, settings

from accounts import services as accounts
from accounts.actors import Actor
from audit.models import AuditEvent
from core.errors import Invalid
from core.ids import new_id
from rentals import services
from rentals.launch import IMAGE, as_json, read_document
from rentals.models import Quote, Rental, Template, TemplateVersion
from rentals.registry import read_reference
from rentals.services import templating
from rentals.tests.test_launch import documents
from tests import cast
from tests.doors import api_of, refusal

pytestmark = pytest.mark.django_db
ROOT = "/api/v1/templates/"


def told(slug: str = "mine", **launch: Any) -> dict[str, Any]:
    return {"name": slug.title(), "slug": slug, "launch": {"image": "debian:12", **launch}}


def made(owner: Actor, slug: str = "mine", **launch: Any) -> Template:
    return services.create_template(actor=owner, document=read_document(told(slug, **launch)))


def names(answer: Any) -> list[str]:
    return [row["slug"] for row in answer.json()["data"]["rows"]]


@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(documents())
def test_export_and_import_give_the_same_document(document: dict[str, Any]) -> None:
    with transaction.atomic():
        client = api_of(cast.person("alice"))
        first = client.post(ROOT, document, "json").json()["data"]
        exported = first["document"]
        assert exported["launch"] == as_json(read_document(document))["launch"]
        # Somebody else makes theirs from it.
        other = api_of(cast.person("carol"))
        second = other.post(ROOT, exported, "json").json()["data"]
        assert second["document"] == exported
        path = f"{ROOT}{second['template']['id']}/versions/1/"
        assert other.get(path).json()["data"]["document"] == exported
        transaction.set_rollback(True)


def test_a_renter_sees_official_published_and_their_own_templates_and_nobody_elses() -> None:
    alice, carol = cast.person("alice"), cast.person("carol")
    cast.template()
    made(alice, "mine")
    made(carol, "hers")
    shown = made(carol, "shown")
    services.set_public(actor=carol, template_id=shown.pk, public=True)
    client = api_of(alice)
    assert names(client.get(ROOT)) == ["demo", "mine", "shown"]
    assert names(client.get(f"{ROOT}?of=official")) == ["demo"]
    assert names(client.get(f"{ROOT}?of=public")) == ["shown"]
    assert names(client.get(f"{ROOT}?of=mine")) == ["mine"]
    assert names(client.get(f"{ROOT}?search=SHO")) == ["shown"]
    assert names(client.get(f"{ROOT}?search=sho mine")) == []
    assert refusal(client.get(f"{ROOT}?of=all")) == (400, "template_search")
    assert refusal(client.get(f"{ROOT}?search={'x' * 101}")) == (400, "template_search")


def test_the_list_comes_in_pages_without_gaps_or_doubles() -> None:
    alice = cast.person("alice")
    for number in range(templating.PAGE + 7):
        made(alice, f"t-{number % 3}-{number}")
    client = api_of(alice)
    first = client.get(ROOT).json()["data"]
    second = client.get(f"{ROOT}?after={first['next']}").json()["data"]
    assert (len(first["rows"]), len(second["rows"]), second["next"]) == (templating.PAGE, 7, None)
    seen = [row["name"] for row in first["rows"] + second["rows"]]
    assert seen == sorted(set(seen))
    assert refusal(client.get(f"{ROOT}?after={new_id()}")) == (400, "cursor_invalid")
    assert refusal(client.get(f"{ROOT}?after=x")) == (400, "invalid")


def test_a_version_never_changes_and_the_database_insists() -> None:
    alice = cast.person("alice")
    template = made(alice, command=["one"])
    client = api_of(alice)
    answer = client.post(f"{ROOT}{template.pk}/versions/", told("mine", command=["two"]), "json")
    assert (answer.status_code, answer.json()["data"]["version"]) == (201, 2)
    whole = client.get(f"{ROOT}{template.pk}/").json()["data"]
    assert (whole["version"], whole["versions"]) == (2, [2, 1])
    assert whole["document"]["launch"]["command"] == ["two"]
    first = client.get(f"{ROOT}{template.pk}/versions/1/").json()["data"]
    assert first["document"]["launch"]["command"] == ["one"]
    changes: tuple[dict[str, Any], ...] = ({"launch": {}}, {"name": "x"})
    for change in changes:
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            TemplateVersion.objects.filter(template=template, number=1).update(**change)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        TemplateVersion.objects.filter(template=template, number=1).delete()


def test_a_strangers_template_is_unknown_and_a_published_one_shows_nothing_from_before() -> None:
    alice, carol = cast.person("alice"), cast.person("carol")
    hers = made(carol, "hers", env={"NOTE": "not for others"})
    client = api_of(alice)
    path = f"{ROOT}{hers.pk}/"
    for method, tail in (
        ("get", ""),
        ("get", "versions/1/"),
        ("post", "publish/"),
        ("post", "archive/"),
    ):
        assert refusal(getattr(client, method)(path + tail)) == (404, "template_unknown")
    assert refusal(client.post(f"{path}versions/", told(), "json")) == (404, "template_unknown")
    services.add_version(actor=carol, template_id=hers.pk, document=read_document(told("hers")))
    assert api_of(carol).post(f"{path}publish/").json()["data"]["visibility"] == "public"
    assert client.get(path).json()["data"]["versions"] == [2]
    assert refusal(client.get(f"{path}versions/1/")) == (404, "template_version_unknown")
    assert refusal(client.post(f"{path}unpublish/")) == (404, "template_unknown")
    assert api_of(carol).get(f"{path}versions/1/").status_code == 200
    assert api_of(carol).post(f"{path}unpublish/").json()["data"]["visibility"] == "private"
    assert refusal(client.get(path)) == (404, "template_unknown")


def test_a_slug_is_ones_own_and_taken_once() -> None:
    alice, carol = cast.person("alice"), cast.person("carol")
    made(alice)
    made(carol)
    assert refusal(api_of(alice).post(ROOT, told(), "json")) == (409, "template_slug_taken")
    assert Template.objects.count() == 2
    named = api_of(alice).post(ROOT, {"name": "Ünï — code!", "launch": {"image": "x"}}, "json")
    assert named.json()["data"]["template"]["slug"] == "uni-code"


def test_there_is_an_end_to_templates_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    alice = cast.person("alice")
    template = made(alice)
    monkeypatch.setattr(templating, "MAX_TEMPLATES", 1)
    monkeypatch.setattr(templating, "MAX_VERSIONS", 1)
    client = api_of(alice)
    assert refusal(client.post(ROOT, told("other"), "json")) == (409, "template_limit")
    path = f"{ROOT}{template.pk}/versions/"
    assert refusal(client.post(path, told(), "json")) == (409, "template_limit")
    assert (Template.objects.count(), TemplateVersion.objects.count()) == (1, 1)


def test_what_one_owner_stores_in_all_versions_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    alice, carol = cast.person("alice"), cast.person("carol")
    monkeypatch.setattr(django_settings.DC, "template_mib", 1)
    client, readme = api_of(alice), "é" * 15_000
    template = made(alice)
    path, before = f"{ROOT}{template.pk}/versions/", TemplateVersion.objects.get().size
    answers = [client.post(path, {**told(), "readme": readme}, "json") for _ in range(34)]
    one = TemplateVersion.objects.order_by("number").last().size  # type: ignore[union-attr]
    assert one == before + 30_000
    assert {answer.status_code for answer in answers} == {201}
    kept = list(Template.objects.values()), TemplateVersion.objects.count(), _events()
    for full in (path, ROOT):
        answer = client.post(full, {**told("other"), "readme": readme}, "json")
        assert refusal(answer) == (409, "template_storage_limit")
        assert f"hold {before + 34 * one} of 1048576 bytes" in answer.json()["error"]
    assert (list(Template.objects.values()), TemplateVersion.objects.count(), _events()) == kept
    # What is put away still counts, for what was rented from it stays readable; others have room of their own.
    client.post(f"{ROOT}{template.pk}/archive/")
    answer = client.post(ROOT, {**told("other"), "readme": readme}, "json")
    assert refusal(answer) == (409, "template_storage_limit")
    assert client.post(ROOT, told("other"), "json").status_code == 201
    assert api_of(carol).post(ROOT, {**told(), "readme": readme}, "json").status_code == 201


def _events() -> int:
    return AuditEvent.objects.filter(subject_type="template").count()


def test_an_archived_template_starts_nothing_new_and_leaves_what_runs() -> None:
    cast.proxy_server()
    alice, carol = cast.person("alice", usd=50), cast.person("carol", usd=50)
    _, offer = cast.machine(cast.person("bob"))
    template = made(alice)
    services.set_public(actor=alice, template_id=template.pk, public=True)
    accounts.add_ssh_key(actor=alice, name="k", public_key=cast.public_ssh_key())
    quote = services.quote_offer(actor=alice, offer_id=offer.pk, template_id=template.pk)
    rental = services.request_rental(
        actor=alice, quote_id=quote.pk, ssh_key_ids=None, idempotency_key="k"
    )
    client = api_of(alice)
    for _ in range(2):
        assert client.post(f"{ROOT}{template.pk}/archive/").json()["data"]["archived"] is True
    assert names(client.get(ROOT)) == []
    _, free = cast.machine(cast.person("bob"), name="free")
    body = {"offer_id": str(free.pk), "template_id": str(template.pk)}
    assert refusal(client.post("/api/v1/quotes/", body, "json")) == (409, "template_archived")
    assert refusal(api_of(carol).get(f"{ROOT}{template.pk}/")) == (404, "template_unknown")
    for tail in ("publish/", "versions/"):
        answer = client.post(f"{ROOT}{template.pk}/{tail}", told(), "json")
        assert refusal(answer) == (409, "template_archived")
    assert client.get(f"/api/v1/rentals/{rental.pk}/").json()["data"]["template_version"] == 1
    made(alice)  # its slug is free again


def test_a_rental_keeps_the_version_that_it_was_made_from() -> None:
    cast.proxy_server()
    alice = cast.person("alice", usd=50)
    _, offer = cast.machine(cast.person("bob"))
    accounts.add_ssh_key(actor=alice, name="k", public_key=cast.public_ssh_key())
    template = made(
        alice, command=["one"], ssh_user="ubuntu", start_script="echo 1", entrypoint=["/e"]
    )
    services.add_version(
        actor=alice, template_id=template.pk, document=read_document(told("mine", command=["two"]))
    )
    client = api_of(alice)
    body = {"offer_id": str(offer.pk), "template_id": str(template.pk)}
    quote = client.post("/api/v1/quotes/", {**body, "template_version": 1}, "json").json()["data"]
    assert (quote["template_id"], quote["template_version"]) == (str(template.pk), 1)
    rental = services.request_rental(
        actor=alice, quote_id=quote["id"], ssh_key_ids=None, idempotency_key="k"
    )
    spec = cast.workload_of(rental).spec
    assert (spec["command"], spec["entrypoint"], spec["start_script"]) == (
        ["one"],
        ["/e"],
        "echo 1",
    )
    assert services.ssh_command(rental).endswith("ubuntu@127.0.0.1")
    newest = client.post("/api/v1/quotes/", body, "json")
    assert newest.status_code == 404  # the machine is taken
    missing = client.post("/api/v1/quotes/", {**body, "template_version": 3}, "json")
    assert refusal(missing)[0] == 404


@pytest.mark.parametrize(
    ("minimum", "requirement", "words"),
    [
        ({"gpus": 2}, "gpus", "2 (GPUs)"),
        ({"vram_mib": 30_000}, "vram_mib", "30000 MiB (memory on each GPU)"),
        ({"cuda": 1310}, "cuda", "13.1 (CUDA)"),
        ({"cpu_cores": 5}, "cpu_cores", "5 (CPU cores)"),
        ({"memory_mib": 8193}, "memory_mib", "8193 MiB (memory)"),
    ],
)
def test_hardware_that_is_too_small_is_refused_with_the_requirement_named(
    minimum: dict[str, int], requirement: str, words: str
) -> None:
    alice = cast.person("alice")
    _, offer = cast.machine(cast.person("bob"), gpus=2)
    template = made(alice, minimum=minimum)
    body = {"offer_id": str(offer.pk), "template_id": str(template.pk), "gpu_count": 1}
    answer = api_of(alice).post("/api/v1/quotes/", body, "json")
    assert refusal(answer) == (400, "hardware_too_small")
    assert answer.json()["data"]["requirement"] == requirement
    assert words in answer.json()["error"]
    assert not Quote.objects.exists()


def test_hardware_and_disk_that_just_suffice_are_taken() -> None:
    alice = cast.person("alice")
    _, offer = cast.machine(cast.person("bob"), gpus=2)
    least = {"gpus": 2, "vram_mib": 24_564, "cpu_cores": 8, "memory_mib": 16_384}
    template = made(alice, minimum=least, disk_gb=40, min_disk_gb=30)
    client = api_of(alice)
    body = {"offer_id": str(offer.pk), "template_id": str(template.pk)}
    small = client.post("/api/v1/quotes/", {**body, "disk_gb": 29}, "json")
    assert refusal(small) == (400, "disk_gb")
    assert client.post("/api/v1/quotes/", body, "json").json()["data"]["disk_gb"] == 40


def test_a_machine_without_cards_has_no_video_memory() -> None:
    alice = cast.person("alice")
    _, offer = cast.machine(cast.person("bob"))
    template = made(alice, minimum={"vram_mib": 1})
    body = {"offer_id": str(offer.pk), "template_id": str(template.pk)}
    answer = api_of(alice).post("/api/v1/quotes/", body, "json")
    assert (refusal(answer)[1], answer.json()["data"]["has"]) == ("hardware_too_small", 0)


def test_official_templates_are_the_staffs_and_change_only_when_they_differ() -> None:
    dora, alice = cast.person("dora", is_staff=True), cast.person("alice")
    cast.template()
    official = cast.template()
    assert official.latest == 1
    path = f"{ROOT}{official.pk}/"
    assert refusal(api_of(alice).post(f"{path}versions/", told(), "json"))[0] == 404
    assert api_of(dora).post(f"{path}versions/", told("demo"), "json").status_code == 201
    assert refusal(api_of(dora).post(f"{path}unpublish/")) == (403, "template_official")
    assert cast.template().latest == 3
    assert not Rental.objects.exists()


def test_one_version_of_a_template_costs_one_version() -> None:
    alice, carol = cast.person("alice"), cast.person("carol")
    launch = {"image": "a/b:1", "start_script": "z" * 16_384}
    made = services.create_template(
        actor=alice, document=read_document({"name": "fat", "launch": launch})
    )
    services.set_public(actor=alice, template_id=made.pk, public=True)
    for _ in range(3):
        services.add_version(
            actor=alice,
            template_id=made.pk,
            document=read_document({"name": "fat", "launch": launch}),
        )
    with CaptureQueriesContext(connection) as seen:
        assert services.version_of(actor=carol, template_id=made.pk).number == 4
    assert len(seen) == 2
    made.refresh_from_db()
    with CaptureQueriesContext(connection) as seen:
        found = services.versions_of(actor=carol, template=made)
        assert [version.number for version in found] == [4, 3, 2, 1]
    assert '"launch"' not in seen[0]["sql"]
    assert len(seen) == 1


@pytest.mark.parametrize(
    "image", ["ghcr.io./x/y:1", "Team/y:1", "a..b.io/y:1", "-a.io/x:1", "a-.io/x", "TEAM/x/y"]
)
def test_a_name_that_no_engine_can_read_is_refused_with_a_sentence(image: str) -> None:
    alice = cast.person("alice")
    with pytest.raises(Invalid, match="docker pull") as refused:
        services.create_template(
            actor=alice, document=read_document({"name": "T", "launch": {"image": image}})
        )
    assert refused.value.code == "template_image"
    assert not Template.objects.exists()


@pytest.mark.parametrize(
    "image",
    [
        "a",
        "team/y:1",
        "ghcr.io/x/y:1",
        "GHCR.io/x/y",
        "host:5000/x",
        "localhost/x",
        "[2606::1]:1/x",
    ],
)
def test_what_a_template_takes_as_an_image_a_registry_is_asked_for(image: str) -> None:
    assert IMAGE.fullmatch(image)
    assert read_reference(image).repository
