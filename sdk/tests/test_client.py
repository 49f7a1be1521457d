"""The client against servers that are away, busy, or somebody else. Every answer comes over a real socket."""

from __future__ import annotations

import json

import httpx
import pytest

from sdk import ApiError, Client, client
from sdk.tests.platforms import Answer, Serve

OK = json.dumps({"success": True, "data": {"a": 1}, "message": "", "error": "", "code": ""})
REFUSED = json.dumps(
    {"success": False, "data": {}, "message": "", "error": "No.", "code": "price_changed"}
)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_PAUSE_SECONDS", 0.01)


def test_reading_is_repeated_while_the_platform_is_busy(serving: Serve) -> None:
    address, heard = serving([(503, {}, ""), (429, {"Retry-After": "1"}, ""), (200, {}, OK)])
    with Client(address) as reader:
        assert reader.call("GET", "me/") == {"a": 1}
    assert heard == [("GET", "/api/v1/me/", "")] * 3


def test_a_rent_is_repeated_under_one_key_and_an_action_never(serving: Serve) -> None:
    busy: list[Answer] = [(503, {}, REFUSED), (200, {}, OK)]
    address, heard = serving([*busy, (503, {}, REFUSED)])
    with Client(address, "dck_x") as renter:
        assert renter.rent("q1") == {"a": 1}
        assert len({key for _, _, key in heard}) == 1
        assert heard[0][2]
        with pytest.raises(ApiError) as refused:
            renter.act("r1", "stop")
    assert (refused.value.code, refused.value.status, len(heard)) == ("price_changed", 503, 3)


def test_a_refusal_keeps_its_code_and_its_words(serving: Serve) -> None:
    address, heard = serving([(409, {}, REFUSED)])
    with Client(address) as renter, pytest.raises(ApiError, match="No") as refused:
        renter.rent("q1", repeat_key="mine")
    assert (refused.value.code, refused.value.status) == ("price_changed", 409)
    assert heard == [("POST", "/api/v1/rentals/", "mine")]


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"data": ', '{"data": ' + "[" * 200_000])
def test_an_answer_of_somebody_else_is_told_as_such(serving: Serve, body: str) -> None:
    address, _ = serving([(200, {}, body), (404, {}, body)])
    with Client(address) as reader:
        for status in (200, 404):
            with pytest.raises(ApiError, match=f"answered {status}") as refused:
                reader.search()
            assert refused.value.code == "not_an_answer"


def test_nobody_there_is_told_with_the_name_of_the_machine() -> None:
    with Client("http://127.0.0.1:1") as reader, pytest.raises(ApiError) as refused:
        reader.search()
    assert (refused.value.code, refused.value.status) == ("not_reachable", 0)
    assert str(refused.value).startswith("127.0.0.1 does not answer")


def test_rentals_are_read_page_by_page(serving: Serve) -> None:
    def page(ids: list[str], after: str | None) -> Answer:
        data = {"rows": [{"id": each} for each in ids], "next": after}
        return 200, {}, json.dumps({"success": True, "data": data, "code": "", "error": ""})

    address, heard = serving([page(["c", "b"], "b"), page(["a"], None)])
    with Client(address, "key") as renter:
        assert [row["id"] for row in renter.rentals()] == ["c", "b", "a"]
    assert [path for _, path, _ in heard] == ["/api/v1/rentals/", "/api/v1/rentals/?before=b"]


@pytest.mark.parametrize(
    "server", ["http://market.example.org", "http://10.0.0.7:8000", "http://localhost.example.org"]
)
def test_a_key_is_never_sent_in_clear_across_a_network(server: str) -> None:
    sent: list[httpx.Request] = []

    def hear(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json=json.loads(OK))

    with pytest.raises(ApiError, match="Your API key was not sent") as refused:
        Client(server, "dck_x", transport=httpx.MockTransport(hear))
    assert (refused.value.code, refused.value.status) == ("address_insecure", 400)
    assert sent == []
    # Who only looks shows nobody a key, and on this machine nobody stands between.
    far = Client(server, transport=httpx.MockTransport(hear))
    near = [
        Client(f"http://{host}:8000", "dck_x", transport=httpx.MockTransport(hear))
        for host in ("localhost", "127.0.0.1", "127.0.0.9", "[::1]")
    ]
    for each in (far, *near):
        each.call("GET", "me/")
    assert [request.headers.get("X-API-Key") for request in sent] == [None, *["dck_x"] * 4]


@pytest.mark.parametrize(
    "server",
    [
        "",
        "https://",
        "https://…",
        "market.example.org",
        "ftp://market.example.org",
        "https://a\x00b",
    ],
)
def test_what_is_no_address_is_told_as_such(server: str) -> None:
    with pytest.raises(ApiError, match="no address of a platform") as refused:
        Client(server, "dck_x")
    assert (refused.value.code, refused.value.status) == ("address_invalid", 400)


@pytest.mark.parametrize("sign", ["\r", "\n", " ", "é", "\x00"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(sign: str) -> None:
    with pytest.raises(ApiError, match="no API key") as refused:
        Client("https://market.example.org", f"dck_hush{sign}")
    assert refused.value.code == "key_invalid"
    assert "hush" not in str(refused.value)


def test_a_path_that_nobody_can_be_asked_for_is_told_as_such() -> None:
    with (
        Client("https://market.example.org", "dck_x") as renter,
        pytest.raises(ApiError) as refused,
    ):
        renter.rental("\x00")
    assert refused.value.code == "address_invalid"
