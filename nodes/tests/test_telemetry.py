"""What machines measure: whose it is, how much is kept, and who may read it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rest_framework.test import APIClient

from accounts.actors import Actor
from accounts.models import User
from hostagent.protocol import Metrics
from nodes import telemetry
from nodes.hub import Hub
from nodes.telemetry.embedded import EmbeddedStore
from nodes.telemetry.influx import InfluxStore
from nodes.telemetry.lines import Series, lines_of, parse
from tests.cast import machine, person

NODE = "5d0f8f6e-0000-4000-8000-000000000001"


def test_a_heartbeat_becomes_one_line_for_the_node_and_one_for_each_card() -> None:
    metrics = Metrics(
        cpu_util_pct=12.5, ram_used_mib=2048, gpu_temp=[61.0, None], gpu_mem_used_mib=[10, 20]
    )
    node, first, second = lines_of(NODE, metrics, 1_700_000_000)
    assert node.startswith(f"node,node={NODE} cpu_util=12.5,ram_used=2048.0,")
    assert "cpu_temp" not in node
    assert first == f"gpu,node={NODE},gpu=0 gpu_temp=61.0,gpu_mem_used=10.0 1700000000"
    assert second == f"gpu,node={NODE},gpu=1 gpu_mem_used=20.0 1700000000"
    assert list(parse(second)) == [(Series(NODE, "gpu_mem_used", 1), 1_700_000_000, 20.0)]


def test_figures_that_are_no_numbers_are_left_out() -> None:
    metrics = Metrics(cpu_util_pct=float("nan"), load_1m=float("inf"), gpu_power_w=[float("nan")])
    [line] = lines_of(NODE, metrics, 1)
    assert "cpu_util" not in line
    assert "load_1m" not in line


def test_steps_are_means_and_another_node_is_another_series(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "t.sqlite3")
    now = int(time.time()) // 60 * 60 - 120
    for offset, use in ((0, 10.0), (5, 20.0), (10, 60.0)):
        store.write(lines_of(NODE, Metrics(cpu_util_pct=use), now + offset))
    store.write(lines_of("other", Metrics(cpu_util_pct=99.0), now))
    series = Series(NODE, "cpu_util")
    fine = store.read(series, start=now, end=now + 60, step=10)
    assert fine == [(now, 15.0), (now + 10, 60.0)]
    assert store.read(series, start=now, end=now + 60, step=60) == [(now, 30.0)]
    assert store.read(Series(NODE, "gpu_temp", 0), start=now, end=now + 60, step=10) == []


def test_the_file_is_bounded_and_forgets_its_oldest_first(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "t.sqlite3", max_bytes=200_000)
    now = int(time.time()) // 60 * 60
    lost = 0
    for minute in range(2000):
        try:
            store.write(lines_of(NODE, Metrics(cpu_util_pct=1.0), now - 60 * (2000 - minute)))
        except telemetry.TelemetryAway:
            lost += 1
    assert lost > 0
    assert (tmp_path / "t.sqlite3").stat().st_size <= 200_000
    kept = store.read(Series(NODE, "cpu_util"), start=now - 60 * 2000, end=now, step=60)
    assert kept[-1].at == now - 60
    assert kept[0].at > now - 60 * 2000


def test_what_is_old_goes(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "t.sqlite3")
    old = int(time.time()) - 8 * 86_400
    store.write(lines_of(NODE, Metrics(cpu_util_pct=1.0), old))
    assert store.read(Series(NODE, "cpu_util"), start=old - 60, end=old + 60, step=60) == []


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    with pytest.raises(telemetry.TelemetryAway):
        store.write(lines_of(NODE, Metrics(), 1))


def test_a_file_that_is_no_database_is_a_store_that_is_away(tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite3"
    path.write_bytes(b"torn by a crash " * 1000)
    store = EmbeddedStore(path)
    with pytest.raises(telemetry.TelemetryAway, match="not a database"):
        store.write(lines_of(NODE, Metrics(), 1))
    with pytest.raises(telemetry.TelemetryAway, match="not a database"):
        store.read(Series(NODE, "cpu_util"), start=0, end=60, step=60)


def test_a_folder_that_cannot_be_made_is_a_store_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    store = EmbeddedStore(tmp_path / "taken" / "t.sqlite3")
    with pytest.raises(telemetry.TelemetryAway):
        store.write(lines_of(NODE, Metrics(), 1))


async def test_a_store_that_is_away_costs_figures_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = Hub()
    monkeypatch.setattr(telemetry, "store", lambda: EmbeddedStore(tmp_path))
    hub.beat(NODE, 3, Metrics())
    hub.beat(NODE, 3, Metrics(cpu_util_pct=5.0))
    with pytest.raises(telemetry.TelemetryAway, match=r"\(1 lines lost since the start\)"):
        await hub._ship()
    assert hub.figures == {}
    hub.beat(NODE, 3, Metrics(gpu_temp=[50.0, 51.0]))
    with pytest.raises(telemetry.TelemetryAway, match=r"\(4 lines lost since the start\)"):
        await hub._ship()
    assert (NODE, 3) in hub.beats


class FakeInflux(BaseHTTPRequestHandler):
    """A fake at the border: the two calls of InfluxDB 2's HTTP API that the real client makes."""

    seen: ClassVar[list[tuple[str, str]]] = []
    status = 204
    answer = (
        "#datatype,string,long,dateTime:RFC3339,double\r\n#group,false,false,false,false\r\n"
        "#default,_result,,,\r\n,result,table,_time,_value\r\n"
        ",,0,2023-11-14T22:13:20Z,12.5\r\n,,0,2023-11-14T22:14:20Z,13\r\n\r\n"
    )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.seen.append((self.path, body))
        asked = self.path.startswith("/api/v2/query")
        answer = self.answer.encode() if asked and self.status < 300 else b""
        self.send_response(200 if asked and self.status < 300 else self.status)
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("Content-Type", "text/csv")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def influx() -> Iterator[InfluxStore]:
    FakeInflux.seen.clear()
    FakeInflux.status = 204
    server = HTTPServer(("127.0.0.1", 0), FakeInflux)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield InfluxStore(url=url, token="t", org="dcompute", bucket="telemetry")
    server.shutdown()
    server.server_close()


def test_influxdb_gets_the_lines_of_a_batch_in_one_request(influx: InfluxStore) -> None:
    influx.write(lines_of(NODE, Metrics(cpu_util_pct=1.0, gpu_temp=[50.0]), 1_700_000_000))
    [(path, body)] = FakeInflux.seen
    assert path.startswith("/api/v2/write?")
    assert "precision=s" in path
    assert body.count("\n") == 1
    assert body.endswith(f"gpu,node={NODE},gpu=0 gpu_temp=50.0 1700000000")


def test_influxdb_is_asked_with_parameters_and_its_rows_become_points(influx: InfluxStore) -> None:
    series = Series(NODE, "gpu_temp", 1)
    points = influx.read(series, start=1_700_000_000, end=1_700_000_120, step=60)
    assert points == [(1_700_000_000, 12.5), (1_700_000_060, 13.0)]
    [(_, body)] = FakeInflux.seen
    assert NODE in body
    assert '"gpu_temp"' in body


def test_influxdb_that_refuses_is_away(influx: InfluxStore) -> None:
    FakeInflux.status = 401
    with pytest.raises(telemetry.TelemetryAway):
        influx.write(["node,node=x cpu_util=1.0 1"])
    with pytest.raises(telemetry.TelemetryAway):
        influx.read(Series(NODE, "cpu_util"), start=1, end=2, step=1)


def test_an_answer_that_turns_into_an_error_half_way_is_a_store_that_is_away(
    influx: InfluxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "#datatype,string,string\r\n,error,reference\r\n,out of memory,897\r\n\r\n"
    monkeypatch.setattr(FakeInflux, "answer", broken)
    with pytest.raises(telemetry.TelemetryAway, match="out of memory"):
        influx.read(Series(NODE, "cpu_util"), start=1, end=2, step=1)


def client_of(actor: Actor) -> APIClient:
    client = APIClient()
    client.force_login(User.objects.get(pk=actor.user_id))
    return client


@pytest.mark.django_db
def test_the_owner_reads_a_machines_figures_and_a_stranger_does_not() -> None:
    bob, carol = person("bob"), person("carol")
    agent, _ = machine(bob)
    now = int(time.time())
    telemetry.store().write(lines_of(agent.node_id, Metrics(cpu_util_pct=37.5), now - 30))
    path = f"/api/v1/nodes/{agent.node_id}/metrics/"
    answer = client_of(bob).get(path + "?field=cpu_util&minutes=5")
    data = answer.json()["data"]
    assert (data["unit"], data["step_seconds"]) == ("%", 10)
    assert data["points"] == [[(now - 30) // 10 * 10, 37.5]]
    refused = client_of(carol).get(path, {"field": "cpu_util"})
    assert (refused.status_code, refused.json()["code"]) == (404, "node_unknown")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("field=password", "invalid"),
        ("field=cpu_util&minutes=1000000000", "invalid"),
        ("field=gpu_temp", "metrics_gpu"),
        ("field=cpu_util&gpu=0", "metrics_gpu"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(query: str, code: str) -> None:
    bob = person("bob")
    agent, _ = machine(bob)
    answer = client_of(bob).get(f"/api/v1/nodes/{agent.node_id}/metrics/?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, code)


@pytest.mark.django_db
def test_a_store_that_is_away_is_a_503_with_a_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bob = person("bob")
    agent, _ = machine(bob)
    monkeypatch.setattr(telemetry, "store", lambda: EmbeddedStore(tmp_path))
    answer = client_of(bob).get(f"/api/v1/nodes/{agent.node_id}/metrics/", {"field": "cpu_util"})
    assert (answer.status_code, answer.json()["code"]) == (503, "telemetry_away")
