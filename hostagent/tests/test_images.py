"""What an agent tells of its images and downloads."""

from __future__ import annotations

import errno
import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostagent import images as images_room
from hostagent.engine import Engine, EngineError
from hostagent.images import Images, chains_of
from hostagent.protocol import (
    MAX_CHAINS,
    MAX_PULLS,
    Hello,
    HostFacts,
    ImageCache,
    Observed,
    ProtocolError,
    RegistryLogin,
    decode_from_agent,
    encode,
)
from hostagent.registries import HUB, HUB_REGISTRY
from hostagent.tests.border import Border, serving

IMAGE = "registry.example:5000/demo:1"


def diff(number: int) -> str:
    return f"sha256:{hashlib.sha256(b'%d' % number).hexdigest()}"


@pytest.fixture
def dockerd() -> Iterator[Border]:
    with serving() as border:
        yield border


@pytest.fixture
def images(dockerd: Border, tmp_path: Path) -> Images:
    engine = Engine("node-1", base_url=dockerd.engine_address)
    # Nobody resolves these names here.
    inside = frozenset({("registry.example", 5000), (HUB_REGISTRY, 443)})
    return Images(engine, tmp_path / "pulls.json", inside=inside)


def downloads(dockerd: Border, size: int) -> None:
    """Let the engine answer a pull of one layer of this size."""
    told = [
        {"status": "Pulling fs layer", "id": "a"},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": size, "total": size}},
        {"status": "Download complete", "id": "a"},
        {"status": "Pull complete", "id": "a"},
    ]
    dockerd.answers["POST /images/create"] = (
        200,
        "".join(json.dumps(line) + "\n" for line in told),
    )
    dockerd.answers[f"GET /images/{IMAGE}/json"] = (200, {"Id": "x"})


def pull(images: Images) -> None:
    images.pull(IMAGE, lambda current, total: None, threading.Event())


def holds(dockerd: Border, **layers: list[str]) -> None:
    """Let the engine hold these images: id -> diff ids, the newest first."""
    dockerd.answers["GET /images/json"] = (
        200,
        [{"Id": name, "Created": 100 - age} for age, name in enumerate(layers)],
    )
    for name, ids in layers.items():
        dockerd.answers[f"GET /images/{name}/json"] = (200, {"RootFS": {"Layers": ids}})


def test_a_chain_id_names_a_layer_with_all_below_it() -> None:
    # The platform's test of the same (nodes/tests/test_images.py) has the same known values.
    layers = [f"sha256:{digit * 64}" for digit in "123"]
    known = ["1" * 32, "9932074217c35353d2e03a3f5a86549f", "50127c0d6b338be78246434b4bce23ec"]
    assert chains_of(layers) == known
    assert chains_of([]) == []
    assert chains_of([layers[0], "md5:1", layers[1]]) == known[:1]


def test_the_layers_of_every_image_are_told_once(images: Images, dockerd: Border) -> None:
    holds(dockerd, new=[diff(1), diff(2)], old=[diff(1)], odd=[])
    told = images.cache()
    assert told == ImageCache(chains=chains_of([diff(1), diff(2)]), pulls=[])
    asked = dockerd.calls()
    assert asked.count("GET /images/new/json") == 1
    images.cache()
    assert dockerd.calls().count("GET /images/new/json") == 1


def test_an_image_that_goes_while_we_look_has_no_layers(images: Images, dockerd: Border) -> None:
    holds(dockerd, there=[diff(1)], gone=[diff(2)])
    del dockerd.answers["GET /images/gone/json"]
    assert images.cache() == ImageCache(chains=chains_of([diff(1)]))


def test_an_engine_that_does_not_answer_leaves_it_unknown(
    images: Images, dockerd: Border, tmp_path: Path
) -> None:
    assert images.cache() is None
    gone = Images(Engine("node-1", base_url="tcp://127.0.0.1:1"), tmp_path / "pulls.json")
    assert gone.cache() is None


def test_downloads_are_timed_and_remembered_and_the_oldest_forgotten(
    images: Images, dockerd: Border, tmp_path: Path
) -> None:
    holds(dockerd)
    for size in range(1, MAX_PULLS + 3):
        downloads(dockerd, size)
        pull(images)
    told = images.cache()
    assert told is not None
    assert [record.bytes for record in told.pulls] == list(range(3, MAX_PULLS + 3))
    assert all(0 < record.seconds < 10 for record in told.pulls)
    assert all(0 <= record.unpack_seconds < 10 for record in told.pulls)
    again = Images(Engine("node-1", base_url=dockerd.engine_address), tmp_path / "pulls.json")
    assert again.cache() == told
    (tmp_path / "pulls.json").write_text('[{"bytes": -1}]')
    rubbish = Images(Engine("node-1", base_url=dockerd.engine_address), tmp_path / "pulls.json")
    assert rubbish.cache() == ImageCache()


def test_a_download_that_brought_nothing_says_nothing_of_the_network(
    images: Images, dockerd: Border, tmp_path: Path
) -> None:
    holds(dockerd)
    downloads(dockerd, 0)
    pull(images)
    assert images.cache() == ImageCache()
    assert not (tmp_path / "pulls.json").exists()


def test_a_full_disk_does_not_fail_a_download(
    images: Images, dockerd: Border, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(images_room, "write_private", full)
    holds(dockerd)
    downloads(dockerd, 7)
    pull(images)
    told = images.cache()
    assert told is not None
    assert [record.bytes for record in told.pulls] == [7]


def test_more_images_than_fit_are_kept_back(images: Images, dockerd: Border) -> None:
    holds(dockerd, **{f"i{n}": [diff(n * 100 + k) for k in range(100)] for n in range(12)})
    told = images.cache()
    assert told is not None
    assert len(told.chains) == MAX_CHAINS
    assert told.chains[:1] == chains_of([diff(0)])


def test_the_wire_takes_a_cache_and_its_absence_and_refuses_what_is_none() -> None:
    node = "00000000-0000-4000-8000-000000000000"
    facts = HostFacts(
        hostname="h", os="o", kernel="k", architecture="x86_64", cpu_model="c", cpu_cores=1,
        memory_mib=1, disk_gb=1, disk_free_gb=1,
    )  # fmt: skip
    hello = Hello(
        node_id=node, key_id=node, signature="", agent_version="1", instance_id="i", boot_id="b",
        generation=0, facts=facts, cache=ImageCache(chains=["0" * 32]),
    )  # fmt: skip
    frame = json.loads(encode(hello))
    assert decode_from_agent(json.dumps(frame)) == hello
    del frame["cache"]  # as agents before this field say it
    old = decode_from_agent(json.dumps(frame))
    assert isinstance(old, Hello)
    assert old.cache is None
    bare = decode_from_agent('{"type": "observed", "epoch": 1, "workloads": []}')
    assert bare == Observed(epoch=1, workloads=[])
    for wrong in (
        {"chains": ["X" * 32]},
        {"chains": ["0" * 32] * (MAX_CHAINS + 1)},
        {"pulls": [{"bytes": -1, "seconds": 1, "unpack_seconds": 1}]},
        {"pulls": [{"bytes": 1, "seconds": 1e9, "unpack_seconds": 1}]},
        {"pulls": [{"bytes": 1, "seconds": 1, "unpack_seconds": 1}] * (MAX_PULLS + 1)},
    ):
        told = {"type": "observed", "epoch": 1, "workloads": [], "cache": wrong}
        with pytest.raises(ProtocolError, match="observed"):
            decode_from_agent(json.dumps(told))


def test_an_engine_is_not_sent_to_a_registry_inside_of_its_network(
    dockerd: Border, tmp_path: Path
) -> None:
    downloads(dockerd, 1)
    images = Images(Engine("node-1", base_url=dockerd.engine_address), tmp_path / "pulls.json")
    login = RegistryLogin(user="a", password="p")
    for image, code in (
        ("127.0.0.1:2375/x:1", "registry_address_refused"),
        ("169.254.169.254/latest:1", "registry_address_refused"),
        ("nobody.invalid/x:1", "image_pull_failed"),
        ("a b:1/x:1", "image_missing"),
    ):
        with pytest.raises(EngineError) as refused:
            images.pull(image, lambda *_: None, threading.Event(), login)
        assert refused.value.code == code
    assert dockerd.calls() == []
    assert not (tmp_path / "closed-images.json").exists()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("docker.io/team/private:1", "team/private:1"),
        ("team/private:1", "docker.io/team/private:2"),
        ("team/private:1", f"index.{HUB}/team/private:1"),
        ("Registry.Example:5000/a:1", "registry.example:5000/a:1"),
        ("docker.io/secret", "library/secret:1"),
    ],
)
def test_a_private_image_is_closed_under_each_of_its_names(
    images: Images, dockerd: Border, tmp_path: Path, first: str, second: str
) -> None:
    downloads(dockerd, 1)
    for name in (first, second):
        dockerd.answers[f"GET /images/{name}/json"] = (200, {"Id": "sha256:1"})
    assert images.may_start(second)
    images.pull(first, lambda *_: None, threading.Event(), RegistryLogin(user="a", password="p"))
    assert not images.may_start(first)
    assert not images.may_start(second)
    # An agent before this one wrote the name down as it was typed.
    (tmp_path / "closed-images.json").write_text(json.dumps([first.partition(":")[0]]))
    if ":5000" not in first:
        again = Images(Engine("node-1", base_url=dockerd.engine_address), tmp_path / "pulls.json")
        assert not again.may_start(second)
