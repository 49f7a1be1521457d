"""What registries are asked, what is believed of their answers, and whom we never speak with."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache

from rentals import registry as registries
from rentals.registry import Found, Layer, Login, RegistryTrouble, look_up, reaching, read_reference
from rentals.registry.references import HUB_NAME
from rentals.registry.shapes import MAX_LAYERS, digest_of
from rentals.tests.registries import Registry, diff, serving

pytestmark = pytest.mark.service  # it keeps documents in Redis
MANIFEST = "/v2/team/app/manifests/1"
SECRET = "s3cret-canary"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    cache.clear()
    with serving() as running:
        monkeypatch.setattr(settings.DC, "trusted_registries", [running.url])
        yield running


def asked(registry: Registry, **more: Any) -> Found:
    return look_up(registry.name(), architecture="amd64", **more)


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(RegistryTrouble) as trouble:
        call()
    assert SECRET not in str(trouble.value)
    return trouble.value.code


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("debian", ("registry-1.docker.io", "library/debian", "latest", "")),
        ("docker.io/team/app:2", ("registry-1.docker.io", "team/app", "2", "")),
        ("team/app", ("registry-1.docker.io", "team/app", "latest", "")),
        ("localhost/app:v1", ("localhost", "app", "v1", "")),
        ("127.0.0.1:5000/a/b/c:x", ("127.0.0.1:5000", "a/b/c", "x", "")),
        ("[::1]:5000/a", ("[::1]:5000", "a", "latest", "")),
        (f"ghcr.io/a/b:1@sha256:{'0' * 64}", ("ghcr.io", "a/b", "1", f"sha256:{'0' * 64}")),
        (f"ghcr.io/a/b@sha256:{'0' * 64}", ("ghcr.io", "a/b", "", f"sha256:{'0' * 64}")),
    ],
)
def test_a_name_is_read_as_the_engine_reads_it(image: str, parts: tuple[str, ...]) -> None:
    read = read_reference(image)
    assert (read.host, read.repository, read.tag, read.digest) == parts
    assert read.pinned("sha256:1") == f"{read.written}@sha256:1"


@pytest.mark.parametrize(
    "image",
    [
        "", " ", "UPPER/case", "a//b", "http://x.org/a", "a:b:c", "x.org/a@sha256:12", "a@", "x.org/",
        "x.org:99999999/a", "user:pw@x.org/a", "x.org/../a", "a\nb", "x.org/a?b", "x.org/a#b", "a" * 501,
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused_before_anybody_is_asked(image: str) -> None:
    assert refused(lambda: look_up(image, architecture="amd64")) == "image_name_invalid"


def test_an_image_is_told_with_its_layers_and_what_it_declares(registry: Registry) -> None:
    digest = registry.holds(
        Env=["PATH=/bin", "NVIDIA_REQUIRE_CUDA=cuda>=12.4", "EMPTY="],
        Labels={"a": "b"},
        User="1000",
        ExposedPorts={"8888/tcp": {}, "22": {}, "53/udp": {}, "x/tcp": {}, "99999/tcp": {}},
    )
    found = asked(registry)
    assert (found.digest, found.digests, found.logged_in) == (digest, {"amd64": digest}, False)
    image = found.image
    assert image is not None
    assert image.layers == (
        Layer(digest_of(b"layer 0"), 1000),
        Layer(digest_of(b"layer 1"), 500),
    )
    assert (image.size, image.user, image.labels, image.ports) == (
        1500,
        "1000",
        {"a": "b"},
        (22, 8888),
    )
    assert image.env == {"PATH": "/bin", "NVIDIA_REQUIRE_CUDA": "cuda>=12.4", "EMPTY": ""}
    assert image.chains == (diff(0), digest_of(f"{diff(0)} {diff(1)}".encode()))


def test_of_several_architectures_the_wanted_one_is_told(registry: Registry) -> None:
    digest = registry.holds(architectures=("amd64", "arm64"))
    found = look_up(registry.name(), architecture="arm64")
    assert found.digest == digest
    assert sorted(found.digests) == ["amd64", "arm64"]
    assert found.image is not None
    assert (found.image.architecture, found.image.digest) == ("arm64", found.digests["arm64"])
    other = look_up(registry.name(), architecture="riscv64")
    assert (other.image, sorted(other.digests)) == (None, ["amd64", "arm64"])


def test_an_image_of_one_other_architecture_has_none_for_us(registry: Registry) -> None:
    registry.holds(architectures=("arm64",))
    found = asked(registry)
    assert (found.image, list(found.digests)) == (None, ["arm64"])


def test_an_image_named_by_digest_must_be_what_its_digest_says(registry: Registry) -> None:
    digest = registry.holds()
    name = f"{registry.host}/team/app@{digest}"
    assert look_up(name, architecture="amd64").digest == digest
    registry.says(f"/v2/team/app/manifests/{digest}", {"other": 1})
    assert refused(lambda: look_up(name, architecture="amd64")) == "registry_answer_odd"


def test_documents_are_kept_by_digest_and_the_name_is_asked_every_time(registry: Registry) -> None:
    registry.holds(architectures=("amd64", "arm64"))
    first = asked(registry)
    assert len(registry.asked) == 3
    registry.asked.clear()
    assert asked(registry) == first
    assert registry.paths() == [MANIFEST]
    registry.holds("team/other", architectures=("amd64", "arm64"))
    registry.asked.clear()
    look_up(registry.name("team/other"), architecture="amd64")
    assert len(registry.asked) == 3


def test_a_token_is_fetched_where_the_registry_says(registry: Registry) -> None:
    registry.holds()
    _ask_for_token(registry)
    found = asked(registry)
    assert found.logged_in
    query = "scope=repository%3Ateam%2Fapp%3Apull&service=reg"
    assert registry.asked[:3] == [
        (MANIFEST, ""),
        (f"/token?{query}", ""),
        (MANIFEST, "Bearer abc"),
    ]


def test_a_log_in_goes_to_the_token_and_is_proven(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    registry.holds()
    _ask_for_token(registry)
    login = Login("alice", SECRET)
    asked(registry, login=login)
    assert registry.asked[1][1] == login.header()
    registry.says("/token?scope=repository%3Ateam%2Fapp%3Apull&service=reg", {}, 401)
    assert refused(lambda: asked(registry, login=login)) == "registry_login_wrong"
    assert refused(lambda: asked(registry)) == "registry_login_needed"
    assert SECRET not in caplog.text + repr(login)
    assert login.header() not in caplog.text


def test_plain_passwords_are_given_when_they_are_asked_for(registry: Registry) -> None:
    registry.holds()
    whole = registry.answers[MANIFEST]
    login = Login("alice", SECRET)

    def guarded(handler: BaseHTTPRequestHandler) -> None:
        right = handler.headers.get("Authorization") == login.header()
        status, _, body = whole if right and not callable(whole) else (401, {}, b"{}")
        handler.send_response(status)
        handler.send_header("WWW-Authenticate", 'Basic realm="x"')
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    registry.answers[MANIFEST] = guarded
    assert asked(registry, login=login).image is not None
    assert refused(lambda: asked(registry)) == "registry_login_needed"
    wrong = Login("alice", "other")
    assert refused(lambda: asked(registry, login=wrong)) == "registry_login_wrong"


def _ask_for_token(registry: Registry) -> None:
    path = MANIFEST
    whole = registry.answers[path]

    def guarded(handler: BaseHTTPRequestHandler) -> None:
        right = handler.headers.get("Authorization") == "Bearer abc"
        status, _, body = whole if right and not callable(whole) else (401, {}, b"{}")
        handler.send_response(status)
        challenge = f'Bearer realm="{registry.url}/token",service="reg"'
        handler.send_header("WWW-Authenticate", challenge)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    registry.answers[path] = guarded
    query = "scope=repository%3Ateam%2Fapp%3Apull&service=reg"
    registry.says(f"/token?{query}", {"token": "abc"})


@pytest.mark.parametrize(
    ("challenge", "code"),
    [
        ("", "registry_answer_odd"),
        ("Negotiate", "registry_answer_odd"),
        ("Bearer", "registry_answer_odd"),
        ('Bearer realm=""', "registry_answer_odd"),
        ('Bearer realm="ftp://x.org/"', "registry_answer_odd"),
        ('Bearer realm="not an address"', "registry_answer_odd"),
        ('Bearer realm="http://user:pw@127.0.0.1/"', "registry_answer_odd"),
        ('Bearer realm="http://169.254.169.254/latest/"', "registry_address_refused"),
        ('Bearer realm="https://169.254.169.254/latest/"', "registry_address_refused"),
        ('Bearer realm="https://[::ffff:10.0.0.1]/"', "registry_address_refused"),
        # Out in the world, and without encryption.
        ('Bearer realm="http://8.8.8.8/token"', "registry_address_refused"),
    ],
)
def test_a_log_in_is_never_sent_where_a_bad_challenge_points(
    registry: Registry, challenge: str, code: str
) -> None:
    registry.says(MANIFEST, {}, 401, WWW_Authenticate=challenge)
    assert refused(lambda: asked(registry, login=Login("alice", SECRET))) == code
    assert registry.asked == [(MANIFEST, "")]


@pytest.mark.parametrize(
    "told", [{"token": ""}, {"token": "a\r\nX: y"}, {"token": "x" * 20_000}, {"token": 5}, []]
)
def test_a_token_that_is_none_is_not_sent_on(registry: Registry, told: Any) -> None:
    registry.holds()
    _ask_for_token(registry)
    registry.says("/token?scope=repository%3Ateam%2Fapp%3Apull&service=reg", told)
    assert refused(lambda: asked(registry)) == "registry_answer_odd"
    assert len(registry.asked) == 2


@pytest.mark.parametrize("status", [500, 429, 503, 204, 418])
def test_a_registry_in_trouble_counts_as_away(registry: Registry, status: int) -> None:
    registry.says(MANIFEST, b"", status)
    assert refused(lambda: asked(registry)) == "registry_away"


def test_an_image_that_is_not_there_is_named(registry: Registry) -> None:
    with pytest.raises(RegistryTrouble, match=f"There is no image {registry.name()}") as trouble:
        asked(registry)
    assert trouble.value.code == "image_missing"


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "https://168.63.129.16/machine",
        "https://localhost/",
        "https://[fd00:ec2::254]/",
        "http://example.org/",
        "gopher://x.org:1/",
    ],
)
def test_a_redirect_leads_nobody_to_an_inside_address(registry: Registry, location: str) -> None:
    registry.says(MANIFEST, b"", 302, Location=location)
    assert refused(lambda: asked(registry)) == "registry_address_refused"
    registry.says(MANIFEST, b"", 302, Location="/v2/again")
    registry.says("/v2/again", b"", 307, Location="/v2/again")
    assert refused(lambda: asked(registry)) == "registry_answer_odd"
    assert registry.paths().count("/v2/again") == registries.MAX_REDIRECTS
    registry.says(MANIFEST, b"", 302)
    assert refused(lambda: asked(registry)) == "registry_answer_odd"


def test_a_log_in_stays_with_the_registry_when_it_redirects(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.holds()
    with serving() as store:
        monkeypatch.setattr(settings.DC, "trusted_registries", [registry.url, store.url])
        [blob] = [path for path in registry.answers if "/blobs/" in path]
        store.answers["/data"] = registry.answers[blob]
        registry.says(blob, b"", 307, Location=f"{store.url}/data")
        _ask_for_token(registry)
        assert asked(registry, login=Login("alice", SECRET)).image is not None
        assert registry.asked[-1] == (blob, "Bearer abc")
        assert store.asked == [("/data", "")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"\xff\xfe",
        b'{"layers": []}',
        b'{"manifests": 5}',
        b'{"manifests": [{"digest": "sha256:x", "size": 1}]}',
        b"[" * 5000,
        b'{"schemaVersion": 1, "fsLayers": []}',
        b'{"config": {"digest": "sha256:%s", "size": -1}, "layers": []}' % (b"0" * 64),
    ],
)
def test_an_answer_that_is_no_manifest_is_odd(registry: Registry, body: bytes) -> None:
    registry.says(MANIFEST, body)
    assert refused(lambda: asked(registry)) == "registry_answer_odd"


def test_too_many_layers_and_documents_that_do_not_fit_are_odd(registry: Registry) -> None:
    registry.holds(sizes=(1,) * (MAX_LAYERS + 1))
    assert refused(lambda: asked(registry)) == "registry_answer_odd"
    registry.holds(sizes=(1,))
    [*_, blob] = [path for path in registry.answers if "/blobs/" in path]
    registry.says(blob, {"architecture": "amd64", "rootfs": {"diff_ids": []}})
    assert refused(lambda: asked(registry)) == "registry_answer_odd"


def test_a_nul_in_what_an_image_declares_is_odd(registry: Registry) -> None:
    registry.holds(Env=["NVIDIA_REQUIRE_CUDA=cuda>=1\x00"])
    assert refused(lambda: asked(registry)) == "registry_answer_odd"


def test_an_answer_that_never_ends_is_left(registry: Registry) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**12))
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b" " * 100_000)
        except OSError:
            handler.close_connection = True

    registry.answers[MANIFEST] = endless
    assert refused(lambda: asked(registry)) == "registry_answer_odd"


def test_a_token_that_is_long_or_long_in_coming_is_left(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    realm = f'Bearer realm="{registry.url}/token",service="reg"'
    registry.says(MANIFEST, {}, 401, WWW_Authenticate=realm)
    place = "/token?scope=repository%3Ateam%2Fapp%3Apull&service=reg"
    registry.says(place, {"token": "abc", "padding": "x" * 64_000})
    assert refused(lambda: asked(registry)) == "registry_answer_odd"
    monkeypatch.setattr(registries, "TOTAL_SECONDS", 0.3)

    def silent(handler: BaseHTTPRequestHandler) -> None:
        try:
            for _ in range(1000):
                _pause(handler)
        except OSError:
            handler.close_connection = True

    registry.answers[place] = silent
    assert refused(lambda: asked(registry)) == "registry_away"


def test_a_strangers_registry_leads_to_nobody_inside_not_even_to_the_deployments_own(
    registry: Registry,
) -> None:
    budget = reaching.Budget(time.monotonic() + 5, 10_000)
    for name, there in (("world.example.org/a", set()), (registry.name(), {registry.url})):
        asking = registries._Asking(read_reference(name), None)
        asking.caller.budget = budget
        assert asking.caller.trusted == {reaching.origin_of(url) for url in there}
        asking.caller.close()
    stranger = reaching.Caller(frozenset(), budget)
    assert refused(lambda: stranger.get(f"{registry.url}/token", {}, limit=1)) == (
        "registry_address_refused"
    )
    assert registry.asked == []


def test_eight_slow_names_do_not_keep_everybody_from_asking(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.holds()
    monkeypatch.setattr(registries, "TOTAL_SECONDS", 0.4)
    answer = threading.Event()
    waiting: list[str] = []
    real = socket.getaddrinfo

    def slow(host: Any, *more: Any, **also: Any) -> Any:
        if str(host).endswith(".slow.example.org"):
            waiting.append(host)
            answer.wait(20)
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return real(host, *more, **also)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    def ask(number: int) -> str:
        name = f"{number}.slow.example.org/a"
        return refused(lambda: look_up(name, architecture="amd64", asker="mallory"))

    try:
        with ThreadPoolExecutor(8) as pool:
            told = sorted(pool.map(ask, range(8)))
        assert told == ["registry_away"] * 2 + ["registry_busy"] * 6
        assert len(waiting) == 2
        assert asked(registry, asker="alice").image is not None
        assert refused(lambda: asked(registry, asker="mallory")) == "registry_busy"
    finally:
        answer.set()
    # The threads come back with their answers, and then mallory asks like everybody.
    monkeypatch.setattr(registries, "TOTAL_SECONDS", 8.0)
    assert asked(registry, asker="mallory").image is not None


def test_an_answer_that_drips_is_left_when_the_time_is_over(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registries, "TOTAL_SECONDS", 0.3)
    dripped = []

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        try:
            for number in range(1000):
                handler.wfile.write(b"X-%d: y\r\n" % number)
                dripped.append(number)
                handler.connection.settimeout(1)
                socket.socket().close()
                _pause(handler)
        except OSError:
            handler.close_connection = True

    registry.answers[MANIFEST] = drip
    assert refused(lambda: asked(registry)) == "registry_away"
    assert 0 < len(dripped) < 1000


def _pause(handler: BaseHTTPRequestHandler) -> None:
    """Wait a little, or until the other side has gone."""
    handler.connection.settimeout(0.02)
    try:
        if handler.connection.recv(1) == b"":
            raise ConnectionError
    except TimeoutError:
        return


def test_what_speaks_no_http_is_odd_and_what_is_not_there_is_away(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noise(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"SSH-2.0-noise\r\n")
        handler.close_connection = True

    registry.answers[MANIFEST] = noise
    assert refused(lambda: asked(registry)) == "registry_answer_odd"
    compressed = (200, {"Content-Encoding": "gzip"}, b"x")
    registry.answers[MANIFEST] = compressed
    assert refused(lambda: asked(registry)) == "registry_answer_odd"
    monkeypatch.setattr(settings.DC, "trusted_registries", ["http://127.0.0.1:1"])
    assert refused(lambda: look_up("127.0.0.1:1/a", architecture="amd64")) == "registry_away"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:{port}",
        "localhost:{port}",
        "[::1]:{port}",
        "10.0.0.1",
        "169.254.169.254",
        "0.0.0.0:1",
    ],
)
def test_nobody_inside_is_asked_unless_the_deployment_trusts_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(settings.DC, "trusted_registries", [])
    name = f"{host.format(port=registry.port)}/team/app:1"
    assert refused(lambda: look_up(name, architecture="amd64")) == "registry_address_refused"
    assert registry.asked == []


def test_a_name_that_leads_inside_is_refused_and_a_name_is_looked_up_once_only(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.holds()
    told: list[str] = []
    real = socket.getaddrinfo

    def turning(host: Any, *more: Any, **also: Any) -> Any:
        if host != "turning.example.org":
            return real(host, *more, **also)
        told.append(host)
        # Ours at the first look, a metadata service at the second.
        address = "127.0.0.1" if len(told) == 1 else "169.254.169.254"
        return real(address, *more, **also)

    monkeypatch.setattr(socket, "getaddrinfo", turning)
    name = f"turning.example.org:{registry.port}/team/app:1"
    assert refused(lambda: look_up(name, architecture="amd64")) == "registry_address_refused"
    told.clear()
    trusted = [f"http://turning.example.org:{registry.port}"]
    monkeypatch.setattr(settings.DC, "trusted_registries", trusted)
    assert look_up(name, architecture="amd64").image is not None
    assert len(told) == 1


def test_a_name_that_nobody_knows_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert refused(lambda: look_up("x.example.org/a", architecture="amd64")) == "registry_away"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::", False),
        ("100.64.0.1", False),
        ("192.0.2.1", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
        ("168.63.129.16", False),
        ("0.0.0.0", False),  # refused, not bound
    ],
)
def test_only_the_open_internet_is_public(address: str, public: bool) -> None:
    assert reaching.is_public(ipaddress.ip_address(address)) is public


def test_who_a_registry_redirects_to_is_not_told_the_log_in(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as thief:
        monkeypatch.setattr(settings.DC, "trusted_registries", [registry.url, thief.url])
        registry.says(MANIFEST, b"", 307, Location=f"{thief.url}/blob")
        realm = f'Bearer realm="{thief.url}/token",service="x"'
        thief.says("/blob", b"{}", 401, WWW_Authenticate=realm)
        code = refused(lambda: asked(registry, login=Login("alice", SECRET)))
        assert code == "registry_login_wrong"
        assert thief.asked == [("/blob", "")]


@pytest.mark.parametrize(
    "address",
    [
        "fec0::1",
        "::ffff:0:127.0.0.1",
        "::127.0.0.1",
        "3fff::1",
        "2002:7f00:1::",
        "2001::1",
        "fe80::1",
    ],
)
def test_an_address_of_the_inside_is_not_public(address: str) -> None:
    assert not reaching.is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["2606:4700::1111", "2a00:1450:4001::5", "1.1.1.1"])
def test_an_address_of_the_world_is_public(address: str) -> None:
    assert reaching.is_public(ipaddress.ip_address(address))


def test_docker_hub_is_one_registry_under_each_of_its_names() -> None:
    names = ["a", "docker.io/a", f"index.{HUB_NAME}/library/a", "Registry-1.Docker.io/a:latest"]
    read = {(found.host, found.repository) for found in map(read_reference, names)}
    assert read == {("registry-1.docker.io", "library/a")}
