"""The client against servers that are away, busy, or somebody else. Every answer comes over a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sdk import ApiError, Client, client

Answer = tuple[int, dict[str, str], str]
Heard = list[tuple[str, str, str]]
OK = json.dumps({"success": True, "data": {"a": 1}, "message": "", "error": "", "code": ""})
REFUSED = json.dumps(
    {"success": False, "data": {}, "message": "", "error": "No.", "code": "price_changed"}
)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LONGEST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def serving() -> Iterator[Callable[[list[Answer]], tuple[str, Heard]]]:
    """Give a function that starts a server with these answers, and returns its address and what it hears."""
    running: list[ThreadingHTTPServer] = []

    def serve(answers: list[Answer]) -> tuple[str, Heard]:
        heard: Heard = []

        class Door(BaseHTTPRequestHandler):
            def answer(self) -> None:
                heard.append((self.command, self.path, self.headers.get("Idempotency-Key", "")))
                status, headers, body = answers.pop(0)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_POST = answer

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", heard

    yield serve
    for server in running:
        server.shutdown()
        server.server_close()


def test_reading_is_repeated_while_the_platform_is_busy(
    serving: Callable[[list[Answer]], tuple[str, Heard]],
) -> None:
    address, heard = serving([(503, {}, ""), (429, {"Retry-After": "1"}, ""), (200, {}, OK)])
    with Client(address) as reader:
        assert reader.call("GET", "me/") == {"a": 1}
    assert heard == [("GET", "/api/v1/me/", "")] * 3


def test_a_rent_is_repeated_under_one_key_and_an_action_never(
    serving: Callable[[list[Answer]], tuple[str, Heard]],
) -> None:
    busy: list[Answer] = [(503, {}, REFUSED), (200, {}, OK)]
    address, heard = serving([*busy, (503, {}, REFUSED)])
    with Client(address, "dck_x") as renter:
        assert renter.rent("q1") == {"a": 1}
        assert len({key for _, _, key in heard}) == 1
        assert heard[0][2]
        with pytest.raises(ApiError) as refused:
            renter.act("r1", "stop")
    assert (refused.value.code, refused.value.status, len(heard)) == ("price_changed", 503, 3)


def test_a_refusal_keeps_its_code_and_its_words(
    serving: Callable[[list[Answer]], tuple[str, Heard]],
) -> None:
    address, heard = serving([(409, {}, REFUSED)])
    with Client(address) as renter, pytest.raises(ApiError, match="No") as refused:
        renter.rent("q1", repeat_key="mine")
    assert (refused.value.code, refused.value.status) == ("price_changed", 409)
    assert heard == [("POST", "/api/v1/rentals/", "mine")]


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"data": '])
def test_an_answer_of_somebody_else_is_told_as_such(
    serving: Callable[[list[Answer]], tuple[str, Heard]], body: str
) -> None:
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


def test_rentals_are_read_page_by_page(
    serving: Callable[[list[Answer]], tuple[str, Heard]],
) -> None:
    def page(ids: list[str], after: str | None) -> Answer:
        data = {"rows": [{"id": each} for each in ids], "next": after}
        return 200, {}, json.dumps({"success": True, "data": data, "code": "", "error": ""})

    address, heard = serving([page(["c", "b"], "b"), page(["a"], None)])
    with Client(address, "key") as renter:
        assert [row["id"] for row in renter.rentals()] == ["c", "b", "a"]
    assert [path for _, path, _ in heard] == ["/api/v1/rentals/", "/api/v1/rentals/?before=b"]
