"""What the agent makes of the engine's answers: which of them are final, and which mean "later"."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from hostagent import engine as engines
from hostagent import hardware
from hostagent.engine import Engine, EngineAway, EngineError, PullCancelled, bridge_name
from hostagent.planner import Container
from hostagent.protocol import MAX_LOG_CHARS
from hostagent.spec import MachineLimits
from hostagent.tests.border import Border, serving
from hostagent.tests.test_spec import PLACE, ROOMY, SPEC

IMAGE = "registry.example:5000/demo:1"
INSPECT = f"GET /images/{IMAGE}/json"


@pytest.fixture
def dockerd() -> Iterator[Border]:
    with serving() as border:
        yield border


@pytest.fixture
def engine(dockerd: Border) -> Engine:
    return Engine("node-1", base_url=dockerd.engine_address)


def lines(*told: Any) -> tuple[int, str]:
    return 200, "".join(json.dumps(line) + "\n" for line in told)


def pulled(engine: Engine, cancelled: bool = False) -> list[tuple[int, int | None]]:
    seen: list[tuple[int, int | None]] = []
    cancel = threading.Event()
    if cancelled:
        cancel.set()
    engine.pull(IMAGE, lambda current, total: seen.append((current, total)), cancel)
    return seen


def test_a_download_tells_its_bytes_and_the_whole_only_when_every_layer_is_known(
    engine: Engine, dockerd: Border
) -> None:
    dockerd.answers["POST /images/create"] = lines(
        {"status": "Pulling fs layer", "id": "a"},
        {"status": "Pulling fs layer", "id": "b"},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 40, "total": 100}},
        {"status": "Downloading", "id": "b", "progressDetail": {"current": 10, "total": 50}},
        {"status": "Download complete", "id": "a"},
        {"status": "Pull complete", "id": "b"},
    )
    dockerd.answers[INSPECT] = (200, {"Id": "x"})
    assert pulled(engine) == [(0, None), (0, None), (40, None), (50, 150), (110, 150), (150, 150)]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("manifest for demo:1 not found: manifest unknown", "image_missing"),
        ("pull access denied, repository does not exist", "image_missing"),
        ("received unexpected HTTP status: 500", "image_pull_failed"),
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_a_refused_download_names_the_image_and_whether_it_exists(
    engine: Engine, dockerd: Border, message: str, code: str, early: bool
) -> None:
    dockerd.answers["POST /images/create"] = (
        (404, {"message": message}) if early else lines({"errorDetail": {"message": message}})
    )
    with pytest.raises(EngineError) as refused:
        pulled(engine)
    assert refused.value.code == code
    assert IMAGE in str(refused.value)


def test_what_is_no_name_of_an_image_is_refused_at_once_and_not_tried_for_ever(
    engine: Engine, dockerd: Border
) -> None:
    for name in ("http://example.org/demo", "docker://demo:1"):
        with pytest.raises(EngineError) as refused:
            engine.pull(name, lambda current, total: None, threading.Event())
        assert refused.value.code == "image_missing"
    assert dockerd.calls() == []


def test_a_registry_cannot_make_a_report_that_nobody_takes(engine: Engine, dockerd: Border) -> None:
    told = {"errorDetail": {"message": "teapot \x00" + "x" * 100_000}}
    dockerd.answers["POST /images/create"] = lines(told)
    with pytest.raises(EngineError) as refused:
        pulled(engine)
    assert str(refused.value) == (
        f"The image {IMAGE} could not be downloaded: no registry answered for it as one should."
    )


def test_what_an_address_inside_answers_is_told_to_the_host_alone(
    engine: Engine, dockerd: Border, caplog: pytest.LogCaptureFixture
) -> None:
    body = (
        'error parsing HTTP 500 response body: invalid character: "{\\"AccessKeyId\\":\\"AKIA\\"}"'
    )
    dockerd.answers["POST /images/create"] = (500, {"message": body})
    with pytest.raises(EngineError) as refused:
        pulled(engine)
    assert refused.value.code == "image_pull_failed"
    assert "AKIA" not in str(refused.value)
    assert "AKIA" in caplog.text


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("write /x: no space left on device", "the machine's disk is full"),
        ("toomanyrequests: slow down", "the registry allows no more downloads for now"),
        ("no matching manifest for linux/arm64", "not made for this machine's kind of processor"),
    ],
)
def test_what_a_renter_can_use_of_a_failed_download_is_said_in_our_own_words(
    engine: Engine, dockerd: Border, told: str, words: str
) -> None:
    dockerd.answers["POST /images/create"] = lines({"errorDetail": {"message": told}})
    with pytest.raises(EngineError, match=words):
        pulled(engine)


def test_a_container_is_ours_by_name_and_labels_together(engine: Engine, dockerd: Border) -> None:
    mine, image = "0" * 36, "1" * 36

    def listed(name: str, **labels: str) -> dict[str, Any]:
        told = {f"dc.{label}": value for label, value in labels.items()}
        return {"Names": [f"/{name}"], "Labels": told}

    dockerd.answers["GET /containers/json"] = (
        200,
        [
            listed(f"dc-{mine}-g2", workload=mine, generation="2"),
            # Somebody ran an image that carries the labels of a rental's container.
            listed("silly_name", workload=image, generation="1"),
            listed("dc-../../x-g1", workload="../../x", generation="1"),
            listed(f"dc-{mine}-gx", workload=mine, generation="x"),
            {"Names": None, "Labels": None},
        ],
    )
    assert engine.ours() == [(mine, 2)]


def test_a_download_that_ends_without_an_image_is_a_failure(
    engine: Engine, dockerd: Border
) -> None:
    dockerd.answers["POST /images/create"] = lines({"status": "Pulling fs layer", "id": "a"})
    with pytest.raises(EngineError, match="ended without an image") as refused:
        pulled(engine)
    assert refused.value.code == "image_pull_failed"


def test_a_download_that_nobody_wants_any_more_stops(engine: Engine, dockerd: Border) -> None:
    dockerd.answers["POST /images/create"] = lines({"status": "Pulling fs layer", "id": "a"})
    with pytest.raises(PullCancelled):
        pulled(engine, cancelled=True)
    assert dockerd.calls() == ["POST /images/create"]


def test_an_engine_that_is_not_there_means_later_not_never() -> None:
    gone = Engine("node-1", base_url="tcp://127.0.0.1:1")
    for call in (gone.info, gone.containers, gone.limits, lambda: pulled(gone)):
        with pytest.raises(EngineAway):
            call()
    with pytest.raises(EngineAway):
        list(gone.deaths())


def test_an_engine_that_was_away_is_asked_again(dockerd: Border) -> None:
    engine = Engine("node-1", base_url=dockerd.engine_address)
    del dockerd.answers["GET /version"]
    with pytest.raises((EngineAway, EngineError)):
        engine.info()
    dockerd.answers["GET /version"] = (200, {"ApiVersion": "1.43"})
    dockerd.answers["GET /info"] = (200, {"ServerVersion": "20.10"})
    assert engine.info() == {"ServerVersion": "20.10"}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Running": True, "Status": "running"}, Container.RUNNING),
        ({"Running": False, "Status": "created"}, Container.CREATED),
        ({"Running": False, "Status": "exited"}, Container.EXITED),
    ],
)
def test_a_container_is_what_the_engine_says(
    engine: Engine, dockerd: Border, state: Any, expected: Container
) -> None:
    dockerd.answers["GET /containers/dc-w-g1/json"] = (200, {"State": state})
    assert engine.state("dc-w-g1") == (expected, state)
    assert engine.state("dc-other-g1") == (Container.NONE, {})


def test_what_is_gone_already_is_not_missed(engine: Engine, dockerd: Border) -> None:
    engine.stop("dc-w-g1", 10)
    engine.remove("dc-w-g1")
    engine.remove_network("dc-w-g1")
    assert engine.log_tail("dc-w-g1") == ""
    assert engine.has_image(IMAGE) is False
    assert dockerd.calls() == [
        "POST /containers/dc-w-g1/stop",
        "DELETE /containers/dc-w-g1",
        "DELETE /networks/dc-w-g1",
        "GET /containers/dc-w-g1/logs",
        "GET /containers/dc-w-g1/json",
        INSPECT,
    ]


def test_a_container_that_is_there_already_is_not_made_twice_and_another_refusal_is_told(
    engine: Engine, dockerd: Border
) -> None:
    for status, refused in ((201, False), (409, False), (500, True)):
        told = {"message": "no space left on device", "Id": "x", "Warnings": []}
        dockerd.answers["POST /containers/create"] = (status, told)
        if not refused:
            engine.create(SPEC, PLACE, ROOMY)
            continue
        with pytest.raises(EngineError, match="no space left on device") as failure:
            engine.create(SPEC, PLACE, ROOMY)
        assert failure.value.code == "container_start_failed"
    _, body = dockerd.asked[-1]
    assert (body["Image"], body["HostConfig"]["Privileged"]) == (SPEC.image, False)


def network(name: str, subnet: str) -> dict[str, Any]:
    return {"Name": name, "IPAM": {"Config": [{"Subnet": subnet}]}}


def test_a_network_takes_the_first_range_that_nobody_has_and_keeps_it(
    engine: Engine, dockerd: Border, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An address of this machine is in the second range: a route there would swallow ours.
    inet = SimpleNamespace(family=socket.AF_INET, address="10.213.0.17", netmask="255.255.255.240")
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"br0": [inet]})
    there = [
        network("a", "10.213.0.0/28"),
        network("six", "fd00::/64"),
        {"Name": "none", "IPAM": {"Config": None}},
    ]
    dockerd.answers["GET /networks"] = (200, there)
    dockerd.answers["POST /networks/create"] = (201, {"Id": "n"})
    assert engine.ensure_network("dc-w-g1", "mk12345678", {"dc.node": "n"}) == "10.213.0.34"
    call, body = dockerd.asked[-1]
    assert (call, body["IPAM"]["Config"][0]["Subnet"]) == (
        "POST /networks/create",
        "10.213.0.32/28",
    )
    assert body["Options"]["com.docker.network.bridge.name"] == "mk12345678"
    assert not body.get("EnableIPv6")
    dockerd.answers["GET /networks"] = (200, [network("dc-w-g1", "10.213.0.32/28")])
    assert engine.ensure_network("dc-w-g1", "mk12345678", {}) == "10.213.0.34"
    assert dockerd.calls().count("POST /networks/create") == 1
    assert engine.network_exists("dc-w-g1") is True
    assert engine.network_exists("dc-w") is False


def test_a_machine_without_a_free_range_says_so(engine: Engine, dockerd: Border) -> None:
    dockerd.answers["GET /networks"] = (200, [network("all", "10.213.0.0/16")])
    with pytest.raises(EngineError, match="no free network address range") as refused:
        engine.ensure_network("dc-w-g1", "mk12345678", {})
    assert refused.value.code == "networks_exhausted"
    assert "POST /networks/create" not in dockerd.calls()


def test_last_words_are_cut_at_their_end_and_hold_nothing_that_cannot_be_stored(
    engine: Engine, dockerd: Border
) -> None:
    dockerd.answers["GET /containers/dc-w-g1/json"] = (200, {"Config": {"Tty": True}})
    dockerd.answers["GET /containers/dc-w-g1/logs"] = (200, "x" * MAX_LOG_CHARS + "a\x00b")
    said = engine.log_tail("dc-w-g1")
    assert (len(said), said[-2:]) == (MAX_LOG_CHARS, "ab")


def test_deaths_are_told_by_the_workload_of_the_label(engine: Engine, dockerd: Border) -> None:
    dockerd.answers["GET /events"] = lines(
        {"Actor": {"Attributes": {"dc.workload": "w1"}}}, {"Actor": {"Attributes": {}}}
    )
    assert list(engine.deaths()) == ["w1", ""]


def test_sizes_are_those_of_our_running_containers_alone(engine: Engine, dockerd: Border) -> None:
    workload = "0190a5b2-7c11-7000-8000-000000000001"
    labels = {"dc.workload": workload, "dc.generation": "2"}
    ours = {"Names": [f"/dc-{workload}-g2"], "Labels": labels, "SizeRw": 7}
    fresh = {"Names": [f"/dc-{workload}-g3"], "Labels": {**labels, "dc.generation": "3"}}
    strange = {"Names": ["/copied"], "Labels": labels, "SizeRw": 9}
    dockerd.answers["GET /containers/json"] = (200, [ours, fresh, strange, {"Names": ["/x"]}])
    assert engine.sizes() == {(workload, 2): 7, (workload, 3): 0}


def test_limits_are_those_of_the_engine(
    engine: Engine, dockerd: Border, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "engine_rlimits", lambda: (1024, -1))
    dockerd.answers["GET /info"] = (
        200,
        {
            "NCPU": 8,
            "Driver": "btrfs",
            "SecurityOptions": ["name=apparmor", "name=seccomp"],
        },
    )
    assert engine.limits() == MachineLimits(
        nofile=1024, memlock=-1, cores=8, disk_quota=True, apparmor=True
    )


def test_the_limits_of_a_process_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "limits"
    file.write_text(
        "Limit                     Soft Limit           Hard Limit           Units\n"
        "Max open files            1024                 524288               files\n"
        "Max locked memory         8388608              unlimited            bytes\n"
    )
    assert hardware._read_limits(file) == (524_288, -1)
    nofile, memlock = hardware.engine_rlimits()
    assert nofile == -1 or nofile > 0
    assert memlock >= -1


def test_a_bridges_name_fits_an_interface() -> None:
    assert bridge_name("0190a5b2-7c11-7000-8000-000000000001") == "mk0190a5b2"
