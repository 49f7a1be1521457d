"""What a pre-flight makes of what it has learnt: exact verdicts, and unknown where nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

from nodes.services import Fetching
from rentals.registry import Found, Image, Layer
from rentals.services.preflight import checks, cuda
from rentals.services.preflight.checks import Asked, Check
from rentals.services.preflight.prediction import Prediction, predict

GB = 1_000_000_000
NEW = cuda.Driver((12, 4, 0), (550, 54, 15), (8, 9, 0))
NOTHING = cuda.Driver(None, None, None)
BASE = "cuda>=12.6 brand=tesla,driver>=535,driver<536 brand=nvidia,driver>=545,driver<546"


def image(*sizes: int, env: dict[str, str] | None = None, labels: Any = None) -> Image:
    layers = tuple(Layer(f"sha256:{n}", size) for n, size in enumerate(sizes or (GB,)))
    return Image("sha256:d", "amd64", layers, (), env or {}, labels or {}, "", ())


def found(made: Image | None, *architectures: str) -> Asked:
    return Asked(Found("sha256:top", dict.fromkeys(architectures, "sha256:d"), made, False))


AWAY = Asked(None, "registry_away", "The registry did not answer.")


@pytest.mark.parametrize(
    ("line", "has", "allowed"),
    [
        ("cuda>=12.4", NEW, True),
        ("cuda>=12.5", NEW, False),
        ("cuda<13", NEW, True),
        ("cuda>=13.1 driver>=550", NEW, True),
        ("cuda>=13.1,driver>=550", NEW, False),
        ("cuda>=12.0,brand=tesla", NEW, None),
        ("cuda>=13.0 brand=tesla,driver>=535,driver<536", NEW, False),
        ("cuda>=13.0 brand=tesla,driver>=550,driver<551", NEW, None),
        ("cuda>=12.0", NOTHING, None),
        ("arch>=9.0", NEW, False),
        ("arch!=9.0 ", NEW, True),
        ("driver=550.54.15", NEW, True),
        ("driver<=550", NEW, False),
        ("driver>550", NEW, True),
        ("cuda>=twelve", NEW, None),
        ("nonsense", NEW, None),
        ("", NEW, True),
    ],
)
def test_demands_are_read_as_the_runtime_reads_them(
    line: str, has: cuda.Driver, allowed: bool | None
) -> None:
    assert cuda.allows(line, has) is allowed


@pytest.mark.parametrize(
    ("env", "has", "gpus", "result", "words"),
    [
        ({}, NEW, 1, "ok", "asks for no CUDA"),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=12.4"}, NEW, 1, "ok", "can what the image needs"),
        (
            {"NVIDIA_REQUIRE_CUDA": "cuda>=13.1"},
            NEW,
            1,
            "fail",
            "The image needs CUDA 13.1, this host has CUDA 12.4, driver 550.54.",
        ),
        ({"NVIDIA_REQUIRE_CUDA": BASE}, NEW, 1, "fail", "needs CUDA 12.6"),
        ({"NVIDIA_REQUIRE_ARCH": "arch>=9.0"}, NEW, 1, "fail", "needs arch>=9.0"),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=12.4"}, NOTHING, 1, "warn", "not known well enough"),
        ({"NVIDIA_REQUIRE_CUDA": "cuda>=12.4"}, NOTHING, 0, "warn", "without one"),
        (
            {"NVIDIA_REQUIRE_CUDA": "cuda>=99", "NVIDIA_DISABLE_REQUIRE": "true"},
            NEW,
            1,
            "ok",
            "can what",
        ),
        ({"CUDA_VERSION": "12.8.1"}, NEW, 1, "ok", "can what the image needs"),
        ({"CUDA_VERSION": "13.0.0"}, NEW, 1, "warn", "built with CUDA 13.0.0"),
        ({"CUDA_VERSION": "12.8.1"}, NOTHING, 1, "warn", "not known well enough"),
    ],
)
def test_cuda_is_judged_by_what_the_image_declares(
    env: dict[str, str], has: cuda.Driver, gpus: int, result: str, words: str
) -> None:
    check = checks.of_cuda(image(env=env), has, gpus)
    assert (check.code, check.result) == ("cuda", result)
    assert words in check.sentence


def test_a_label_also_says_that_an_image_is_for_cards() -> None:
    made = image(labels={"com.nvidia.volumes.needed": "nvidia_driver"})
    assert checks.of_cuda(made, NEW, 0).result == "warn"
    assert checks.of_cuda(made, NEW, 1).result == "ok"
    assert checks.of_cuda(None, NEW, 1).result == "warn"


@pytest.mark.parametrize(
    ("asked", "manifest", "login"),
    [
        (found(image(), "amd64"), "ok", "ok"),
        (AWAY, "warn", "warn"),
        (Asked(None, "registry_address_refused", "x"), "fail", "warn"),
        (Asked(None, "registry_answer_odd", "x"), "warn", "warn"),
        (Asked(None, "image_missing", "There is no image x:1."), "fail", "warn"),
        (Asked(None, "image_name_invalid", "x"), "fail", "warn"),
        (Asked(None, "registry_login_needed", "x"), "warn", "fail"),
        (Asked(None, "registry_login_wrong", "x"), "warn", "fail"),
    ],
)
def test_a_registry_that_cannot_be_asked_is_a_warning_and_a_no_is_a_failure(
    asked: Asked, manifest: str, login: str
) -> None:
    assert checks.of_manifest(asked, "x:1").result == manifest
    assert checks.of_login(asked, True).result == login
    assert checks.of_login(asked, False).result == login


def test_an_image_for_another_processor_fails_with_both_names() -> None:
    check = checks.of_architecture(found(None, "arm64", "s390x"), "amd64")
    assert check == Check(
        "architecture",
        "fail",
        "arm64, s390x",
        "amd64",
        "The image is made for arm64, s390x, this machine is amd64. Pick another machine or image.",
    )
    assert checks.of_architecture(found(image(), "amd64"), "amd64").result == "ok"
    assert checks.of_architecture(found(image(), "amd64"), "").result == "warn"
    assert checks.of_architecture(AWAY, "amd64").result == "warn"


@pytest.mark.parametrize(
    ("size", "missing", "disk", "host", "result"),
    [
        (GB, GB, 10, 100, "ok"),
        (GB, None, 10, 100, "ok"),
        (11 * GB, 0, 10, 100, "fail"),
        (5 * GB, 0, 10, 100, "warn"),
        (4 * GB, 4 * GB, 10, 3, "fail"),
        (4 * GB, None, 10, 3, "fail"),
        (4 * GB, 0, 10, 3, "ok"),
        (4 * GB, 4 * GB, 10, 13, "warn"),
        (4 * GB, 4 * GB, 10, 14, "ok"),
    ],
)
def test_certain_bytes_fail_and_estimated_ones_warn(
    size: int, missing: int | None, disk: int, host: int, result: str
) -> None:
    assert checks.of_size(image(size), missing, disk, host).result == result


def test_what_the_registry_did_not_say_of_the_size_is_unknown() -> None:
    check = checks.of_size(None, None, 10, 100)
    assert (check.result, check.measured) == ("warn", "unknown")


def test_offer_price_disk_and_ports_are_looked_at_again() -> None:
    assert checks.of_offer(True, 2, 2).result == "ok"
    assert checks.of_offer(True, 0, 0).result == "ok"
    assert checks.of_offer(True, 1, 2).result == "fail"
    assert checks.of_offer(False, 2, 2).result == "fail"
    assert checks.of_price(None, 5, "0.10").result == "ok"
    assert checks.of_price(5, 5, "0.10").result == "ok"
    assert checks.of_price(4, 5, "0.10").result == "warn"
    assert checks.of_disk(10, 10).result == "ok"
    assert checks.of_disk(11, 10).result == "fail"
    assert checks.of_ports([22, 8888], 2).result == "ok"
    assert checks.of_ports([22, 8888], 1).result == "fail"
    assert checks.of_ports([22, 70_000], 9).result == "fail"


def test_the_worst_check_is_the_verdict() -> None:
    made = [Check("a", result, "", "", "") for result in ("ok", "warn", "fail")]
    assert checks.verdict(made[:1]) == "ok"
    assert checks.verdict(made[:2]) == "warn"
    assert checks.verdict(made) == "fail"


def test_a_prediction_is_the_sum_of_measured_parts() -> None:
    fetching = Fetching([False, True, True], 10_000_000.0, 1e-8, 3)
    told = predict([7, 60_000_000, 40_000_000], fetching, [4.0, 2.0, 9.0])
    assert told == Prediction(
        seconds=15.0,
        download_seconds=10.0,
        unpack_seconds=1.0,
        start_seconds=4.0,
        missing_bytes=100_000_000,
        image_bytes=100_000_007,
        bytes_per_second=10_000_000.0,
        of_pulls=3,
        of_starts=3,
    )
    assert told.told()["download_seconds"] == 10.0


@pytest.mark.parametrize(
    ("sizes", "fetching", "starts", "parts"),
    [
        # Nothing to download takes no time, however slow the network.
        ([5], Fetching([False], None, None, 0), [3.0], (3.0, 0.0, 0.0, 3.0)),
        ([5], Fetching([True], None, None, 0), [3.0], (None, None, None, 3.0)),
        ([5], Fetching(None, 1.0, 0.0, 1), [3.0], (None, None, None, 3.0)),
        (None, Fetching([], 1.0, 0.0, 1), [3.0], (None, None, None, 3.0)),
        ([5], Fetching([True], 1.0, 0.0, 1), [], (None, 5.0, 0.0, None)),
    ],
)
def test_what_was_never_measured_leaves_the_whole_unknown(
    sizes: list[int] | None, fetching: Fetching, starts: list[float], parts: tuple[Any, ...]
) -> None:
    told = predict(sizes, fetching, starts)
    seen = (told.seconds, told.download_seconds, told.unpack_seconds, told.start_seconds)
    assert seen == parts
