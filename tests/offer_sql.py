"""The search of offers in plain SQL, written anew from docs/offer-fields.md: what the columns in memory must equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.db import connection

from nodes.search.fields import FACETS, FIELDS, Kind

KNOWN_LAST = 2**37 - 1
PRICE = "(greatest(compute_rate * %(factor)s, minimum_rate) + storage_gb_rate * %(disk)s)"
VALUE = f"least({KNOWN_LAST - 1}, gflops::bigint * %(factor)s * 1000000000 / greatest({PRICE} * 3600, 1))"
ORDERS = {
    "price": PRICE,
    # `least` would take the other for a null.
    "value": f"CASE WHEN gflops IS NOT NULL THEN -{VALUE} END",
    "ready": "ready_seconds",
    "reliability": "-reliability_bp",
}


def sql_answer(asked: Mapping[str, Sequence[str]]) -> tuple[list[str], dict[str, dict[str, int]]]:
    """Return the ids of everything that fits, in order, and each facet's counts without its own filter."""
    gpus = asked.get("gpus", [None])[0]
    values: dict[str, Any] = {
        "factor": max(int(gpus or 1), 1), "disk": int(asked.get("disk_gb", ["10"])[0]),
    }  # fmt: skip
    fits = {None: "gpu_total = 0 OR gpu_free > 0", "0": "gpu_total = 0"}
    size = fits.get(gpus, f"gpu_free >= {int(gpus or 0)}")
    base = [f"listed AND disk_gb >= %(disk)s AND ({size})"]
    conditions = [
        (field, _condition(name, field, values, asked[name])) for name, field in _fields(asked)
    ]
    order = ORDERS[asked.get("sort", ["price"])[0]]
    everything = " AND ".join([*base, *(condition for _, condition in conditions)])
    ids = _rows(
        f"SELECT id FROM nodes_offer WHERE {everything} ORDER BY {order} NULLS LAST, number", values
    )
    facets = {}
    for facet in FACETS:
        others = " AND ".join([*base, *(text for field, text in conditions if field != facet)])
        counts = f"SELECT {facet}, count(*) FROM nodes_offer WHERE {others} GROUP BY 1"
        facets[facet] = {word: number for word, number in _rows(counts, values)}
    return [str(row[0]) for row in ids], facets


def _fields(asked: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    found = []
    for name in asked:
        field = name if name in FIELDS else name.rpartition("_")[0]
        if field in FIELDS and FIELDS[field].kind in (Kind.NUMBER, Kind.TEXT, Kind.FLAG):
            found.append((name, field))
    return found


def _condition(name: str, field: str, values: dict[str, Any], given: Sequence[str]) -> str:
    end, kind = name.removeprefix(field), FIELDS[field].kind
    if kind is Kind.TEXT:
        values[name] = list(given)
        return (
            f"{field} <> '' AND {field} = ANY(%({name})s)"
            if not end
            else (f"{field} <> '' AND {field} <> ALL(%({name})s)")
        )
    if kind is Kind.FLAG:
        return f"{field} = {given[0]}"
    values[name] = Decimal(given[0])
    column = f"({PRICE} * 3600 / 1000000000::numeric)" if field == "price_hourly" else field
    return f"{column} {({'': '=', '_min': '>=', '_max': '<='})[end]} %({name})s"


def _rows(statement: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
