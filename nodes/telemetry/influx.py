"""Telemetry in InfluxDB 2, through its own client: whole batches of lines, never an object for each point."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from influxdb_client.client.flux_csv_parser import FluxCsvParserException, FluxQueryException
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from nodes.telemetry.lines import Series
from nodes.telemetry.store import Point, TelemetryAway

TIMEOUT_MS = 5000
# A refusal, a server that is not there, and an answer that breaks off or turns into an error half-way.
FAILURES = (ApiException, HTTPError, FluxQueryException, FluxCsvParserException)
# Parameters, not text, carry what varies: a query cannot be turned into another one.
QUERY = """
from(bucket: _bucket)
  |> range(start: _start, stop: _stop)
  |> filter(fn: (r) => r._measurement == _measurement and r._field == _name and r.node == _node)
  |> filter(fn: (r) => _gpu == "" or r.gpu == _gpu)
  |> aggregateWindow(every: _step, fn: mean, createEmpty: false, timeSrc: "_start")
  |> keep(columns: ["_time", "_value"])
"""


class InfluxStore:
    """One bucket of an InfluxDB 2 server; how long it keeps things is the bucket's own setting."""

    def __init__(self, *, url: str, token: str, org: str, bucket: str) -> None:
        self._client = InfluxDBClient(url=url, token=token, org=org, timeout=TIMEOUT_MS)
        self._writer = self._client.write_api(write_options=SYNCHRONOUS)
        self._reader = self._client.query_api()
        self._bucket = bucket

    def write(self, lines: Sequence[str]) -> None:
        """Send lines as one request."""
        try:
            self._writer.write(
                bucket=self._bucket,
                record="\n".join(lines),
                write_precision=WritePrecision.S,  # type: ignore[arg-type]  # its values are strings
            )
        except FAILURES as error:
            raise TelemetryAway(str(error)) from error

    def read(self, series: Series, *, start: int, end: int, step: int) -> list[Point]:
        """Return means of `step` seconds."""
        parameters = {
            "_bucket": self._bucket,
            "_start": datetime.fromtimestamp(start, UTC),
            "_stop": datetime.fromtimestamp(end, UTC),
            "_measurement": series.measurement,
            "_name": series.field,
            "_node": series.node_id,
            "_gpu": "" if series.gpu is None else str(series.gpu),
            "_step": timedelta(seconds=step),
        }
        try:
            tables = self._reader.query(QUERY, params=parameters)
        except FAILURES as error:
            raise TelemetryAway(str(error)) from error
        points = [
            Point(int(record.values["_time"].timestamp()), float(record.values["_value"]))
            for table in tables
            for record in table.records
        ]
        return sorted(points)
