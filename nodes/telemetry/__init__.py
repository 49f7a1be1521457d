"""What machines measure of themselves, kept apart from the relational tables: it may be lost, and is bounded.

One interface, two stores: a SQLite file on one machine, InfluxDB 2 when `DC_INFLUXDB_URL` is set.
Both take InfluxDB's line protocol.
"""

from __future__ import annotations

from functools import cache

from django.conf import settings

from nodes.telemetry.embedded import EmbeddedStore
from nodes.telemetry.influx import InfluxStore
from nodes.telemetry.lines import FIELDS, Series, lines_of
from nodes.telemetry.store import Point, TelemetryAway, TelemetryStore

__all__ = ["FIELDS", "Point", "Series", "TelemetryAway", "TelemetryStore", "lines_of", "store"]


@cache
def store() -> TelemetryStore:
    """Return this process's store, the one that the settings name."""
    env = settings.DC
    if env.influxdb_url:
        return InfluxStore(
            url=env.influxdb_url,
            token=env.influxdb_token.get_secret_value(),
            org=env.influxdb_org,
            bucket=env.influxdb_bucket,
        )
    return EmbeddedStore(env.telemetry_file)
