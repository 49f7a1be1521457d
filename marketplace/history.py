"""The price history of models: what the market page shows of it, and its lines. What is not known is None, never 0."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from core import clock, money
from core.errors import Invalid
from nodes.models import ModelPrice
from nodes.queries import PricePoint

# Days -> seconds of a step: some thirty points, which a line of this size can show and a table can list.
PERIODS = {1: 3600, 7: 6 * 3600, 30: 86_400, 90: 3 * 86_400}
USUAL_DAYS = 7
MOST_DAYS = ModelPrice.KEPT_DAYS - 1
# What is older than the hour before this one is not what it costs now.
FRESH = dt.timedelta(hours=2)
WIDTH, HEIGHT, MARGIN = 240, 40, 2
NO_CARD = "Machines without a card"


def model_face(
    model: str, points: Sequence[PricePoint], now: ModelPrice | None, days: int
) -> dict[str, Any]:
    """Return what the page shows of one model: the figures of now, the change of the median, the line, the steps."""
    first = points[0].p50 if points else None
    change = None
    if now is not None and first:
        change = f"{100 * (now.p50 - first) / first:+.1f}".replace("-", "−")
    return {
        "name": model or NO_CARD,
        "search": urlencode({"gpu_model": model} if model else {"gpus": 0}),
        "free": now.free if now else None,
        "hosts": now.hosts if now else None,
        "thin": now is not None and now.hosts < ModelPrice.LEAST_HOSTS,
        "p10": _hourly(now.p10) if now else None,
        "p50": _hourly(now.p50) if now else None,
        "p90": _hourly(now.p90) if now else None,
        "change": change,
        "steps": [
            {
                "at": point.at,
                "free": point.free,
                "hosts": point.hosts,
                "p10": _hourly(point.p10),
                "p50": _hourly(point.p50),
                "p90": _hourly(point.p90),
            }
            for point in points
        ],
        "chart": chart(points, days),
    }


def chart(points: Sequence[PricePoint], days: int) -> dict[str, Any] | None:
    """Return the line of the median and the strip from p10 to p90 as SVG points; None without a point.

    A step of which nothing is known interrupts both. The foot of the drawing is zero, so that heights compare.
    """
    if not points:
        return None
    step = PERIODS[days]
    top = max(point.p90 for point in points) or 1
    start = clock.epoch() // step * step - days * 86_400
    span = days * 86_400

    def x(point: PricePoint) -> float:
        at = clock.to_epoch(point.at) - start
        return round(MARGIN + (WIDTH - 2 * MARGIN) * min(1, max(0, at / span)), 1)

    def y(rate: int) -> float:
        return round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * rate / top, 1)

    strips, lines, dots = [], [], []
    for run in _runs(points, step):
        line = [(x(point), y(point.p50)) for point in run]
        if len(run) == 1:
            dots.append(line[0])
            continue
        upper = [(x(point), y(point.p90)) for point in run]
        lower = [(x(point), y(point.p10)) for point in reversed(run)]
        strips.append(_joined([*upper, *lower]))
        lines.append(_joined(line))
    medians = [point.p50 for point in points]
    return {
        "strips": strips,
        "lines": lines,
        "dots": dots,
        "least": _hourly(min(medians)),
        "most": _hourly(max(medians)),
    }


def _runs(points: Sequence[PricePoint], step: int) -> Iterator[list[PricePoint]]:
    """Yield the points in stretches without a step missing."""
    run: list[PricePoint] = []
    for point in points:
        if run and (point.at - run[-1].at).total_seconds() > step:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def price_out(row: ModelPrice) -> dict[str, Any]:
    """Return one hour of one model as the API shows it; `gpu_model` is null for machines without a card."""
    return {
        "gpu_model": row.gpu_model or None,
        "hour": row.hour,
        "free": row.free,
        "hosts": row.hosts,
        "thin": row.hosts < ModelPrice.LEAST_HOSTS,
        "p10_hourly": _hourly(row.p10),
        "p50_hourly": _hourly(row.p50),
        "p90_hourly": _hourly(row.p90),
    }


def cursor_of(row: ModelPrice) -> str:
    """Return where a page that ends with this row goes on."""
    text = f"{clock.to_epoch(row.hour)}.{row.gpu_model}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def place_of(cursor: str) -> tuple[dt.datetime, str]:
    """Return the hour and the model behind which a page begins; raises Invalid `cursor_invalid`."""
    try:
        text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode()
        seconds, _, model = text.partition(".")
        if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 10) or "\0" in model:
            raise ValueError(seconds)
        return clock.from_epoch(int(seconds)), model
    except (ValueError, OverflowError, binascii.Error) as error:
        raise Invalid(
            "cursor_invalid", "This is no `next` of an answer. Ask for the first page again."
        ) from error


def _hourly(rate: int) -> str:
    return money.decimal_string(rate * money.SECONDS_PER_HOUR)
