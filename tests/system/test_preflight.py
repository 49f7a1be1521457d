"""A pre-flight beside a real registry, engine and agent: what it finds is so, and what it predicts is compared."""

from __future__ import annotations

import io
import os
import re
import tarfile
from typing import Any

import docker

from hostagent.images import chains_of
from tests.stacks import Platform, wait_for
from tests.system.test_main_job import end, template

OWN_BYTES = 8_000_000


def publish_own_image(site: Platform, engine: docker.DockerClient) -> str:
    """Put the demo image with one more layer, which nobody else has, into the stack's registry."""
    name = site.stack.image.rpartition("/")[0] + "/own"
    container = engine.containers.create(site.stack.image, network_mode="none")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("own")
        entry.size = OWN_BYTES
        tar.addfile(entry, io.BytesIO(os.urandom(OWN_BYTES)))
    container.put_archive("/root", packed.getvalue())
    container.commit(name, "1")
    container.remove()
    engine.images.push(name, "1")
    engine.images.remove(f"{name}:1")
    return f"{name}:1"


def fly(site: Platform, **body: Any) -> dict[str, Any]:
    """Run a pre-flight on the one machine there is, as alice."""
    offers = wait_for(lambda: site.get("alice", "offers/")["rows"], seconds=30, what="an offer")
    answer = site.call("alice", "POST", f"offers/{offers[0]['id']}/preflight/", json=body)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def stored(site: Platform, expression: str) -> bool:
    """Whether what the platform keeps of the machine's images is so."""
    code = (
        f"from nodes.models import ImageStore; s = ImageStore.objects.first(); print({expression})"
    )
    return site.stack.manage("shell", "-v", "0", "-c", code).split()[-1] == "True"


def template_id(site: Platform, slug: str) -> str:
    rows = site.get("alice", "templates/")["rows"]
    return str(next(row["id"] for row in rows if row["slug"] == slug))


def test_a_preflight_knows_what_must_be_downloaded_and_the_rent_takes_what_it_saw(
    site: Platform,
) -> None:
    first = site.rent()
    site.wait_state(first, "running")
    engine = docker.DockerClient(base_url=site.stack.facts.docker_host)
    base = chains_of(engine.images.get(site.stack.image).attrs["RootFS"]["Layers"])
    wait_for(lambda: stored(site, f"s and {base[-1]!r} in s.chains"), seconds=90, what="base")
    end(site, first)

    image = publish_own_image(site, engine)
    own = template_id(site, template(site, "own", image))
    flight = fly(site, template_id=own)
    assert [c for c in flight["checks"] if c["result"] != "ok"] == []
    told = flight["prediction"]
    assert OWN_BYTES < told["missing_bytes"] < OWN_BYTES * 1.1
    assert told["missing_bytes"] < told["image_bytes"]
    assert (told["of_starts"], told["start_seconds"] > 0) == (told["of_starts"] or 1, True)

    rental_id = site.rent("own")
    site.wait_state(rental_id, "running")
    [container] = engine.containers.list(filters={"label": f"dc.rental={rental_id}"})
    pinned = f"{image.rpartition(':')[0]}@{flight['digest']}"
    assert container.attrs["Config"]["Image"] == pinned
    assert pinned in engine.images.get(pinned).attrs["RepoDigests"]
    wait_for(lambda: stored(site, f"s.pulled_bytes > {OWN_BYTES}"), seconds=30, what="the pull")
    end(site, rental_id)

    again = fly(site, template_id=own)["prediction"]
    assert (again["missing_bytes"], again["download_seconds"]) == (0, 0.0)
    assert again["bytes_per_second"] > 0
    assert re.match(r"Ready in about \d+ s\. All of the image", again["sentence"])
    rental_id = site.rent("own")
    start = site.wait_state(rental_id, "running")["start"]
    assert start["predicted_seconds"] == again["seconds"]
    assert 0 < start["seconds"] < 40
    words = [step["words"] for step in site.get("alice", f"rentals/{rental_id}/timeline/")]
    assert [w for w in words if re.fullmatch(r"Running: predicted \d+ s, was \d+ s", w)]
    end(site, rental_id)


def test_an_image_that_is_not_there_stops_before_the_rent(site: Platform) -> None:
    name = site.stack.image.rpartition("/")[0] + "/nothing:1"
    missing = template_id(site, template(site, "missing", name))
    flight = fly(site, template_id=missing)
    failed = [(c["code"], c["measured"]) for c in flight["checks"] if c["result"] == "fail"]
    assert (flight["verdict"], failed) == ("fail", [("manifest", "image_missing")])
    quote = site.quote(template="missing")
    headers = {"Idempotency-Key": "preflight-" + quote["id"]}
    answer = site.call("alice", "POST", "rentals/", json={"quote_id": quote["id"]}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "preflight_failed")
    # Nobody gets into the platform's own network by the name of an image.
    inside = f"127.0.0.1:{site.stack.config.ports.web}/a/b:1"
    told = {c["code"]: c["measured"] for c in fly(site, image=inside)["checks"]}
    assert told["manifest"] == "registry_address_refused"
