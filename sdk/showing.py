"""How answers look on a terminal. Words of other people are shown without what a terminal would obey."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .client import Json

console = Console(highlight=False)
aside = Console(stderr=True, highlight=False)
Column = tuple[str, str]
# Terminals of so many columns show everything of an offer.
WIDE = 150
NARROW_COLUMNS = 5
# So much of a rental's id tells it from the others, and is enough to name it.
SHORT_ID = 13


def plain(value: object) -> Text:
    """Return a value as text that does nothing to the terminal; what is not known is –."""
    words = "–" if value is None or value == "" else str(value)
    return Text("".join(each if each.isprintable() else "?" for each in words))


def show_json(value: Any) -> None:
    """Print JSON for machines, whole."""
    console.print(json.dumps(value, indent=2), markup=False, soft_wrap=True)


def show_table(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings; a column is its heading and `left` or `right`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, side in columns:
        table.add_column(heading, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    console.print(table)


def show_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in pairs:
        table.add_row(Text(name, style="dim"), plain(value))
    console.print(table)


def an_hour(price: Json) -> str:
    """Return a price as a sentence says it."""
    return f"{price['hourly']} {price['currency']} an hour"


def offers(found: Json) -> None:
    """Print a page of the search; on a narrow terminal only what decides, so that ids stay whole."""
    columns: list[Column] = [
        ("offer", "left"), ("hardware", "left"), ("an hour", "right"), ("VRAM", "right"), ("ready s", "right"),
        ("in all", "right"), ("cores", "right"), ("RAM MiB", "right"), ("disk GB", "right"),
        ("reliable %", "right"), ("place", "left"),
    ]  # fmt: skip
    shown = len(columns) if console.width >= WIDE else NARROW_COLUMNS
    if found["rows"]:
        show_table(columns[:shown], [_offer_row(row)[:shown] for row in found["rows"]])
        console.print(f"{len(found['rows'])} of {found['total']} that can start now.")
    else:
        console.print("Nothing that fits can start right now.")
    for each in found["without"]:
        console.print(f"Without {each['name']}: {each['total']} would fit.", markup=False)


def _offer_row(row: Json) -> list[object]:
    cards = f"{row['gpus']} × {row['gpu_model']}" if row["gpus"] else row["cpu_model"]
    reliable = row["reliability_bp"]
    return [
        row["id"],
        f"{cards or '–'}{' (simulated)' if row.get('simulated') else ''}",
        row["price_hourly"],
        row["vram_mib"],
        row["ready_seconds"],
        row["price_total"],
        row["cpu_cores_yours"],
        row["memory_mib_yours"],
        row["disk_gb"],
        None if reliable is None else f"{reliable / 100:.2f}",
        ", ".join(part for part in (row["region"], row["country"]) if part),
    ]


def rentals(rows: Sequence[Json]) -> None:
    """Print a list of rentals."""
    columns: list[Column] = [
        ("rental", "left"), ("state", "left"), ("machine", "left"), ("template", "left"),
        ("an hour", "right"), ("so far", "right"), ("", "left"),
    ]  # fmt: skip
    show_table(columns, [_rental_row(row) for row in rows])


def _rental_row(row: Json) -> list[object]:
    return [
        row["id"][:SHORT_ID],
        row["label"],
        row["node_name"],
        row["template"],
        row["price"]["hourly"],
        row["cost_so_far"],
        row["price"]["currency"],
    ]


def rental(row: Json) -> None:
    """Print one rental: can it be used, how, what does it cost, what can be done now."""
    show_pairs(
        [
            ("rental", row["id"]),
            ("state", row["label"]),
            ("", row["sentence"]),
            ("log in", row["ssh"]["command"]),
            ("machine", row["node_name"]),
            ("costs", an_hour(row["price"])),
            ("so far", f"{row['cost_so_far']} {row['price']['currency']}"),
            *((f"can {action['name']}", action["consequence"]) for action in row["actions"]),
        ]
    )


def bill(told: Json) -> None:
    """Print every line of a bill; the amounts add up to the total."""
    columns: list[Column] = [
        ("what", "left"), ("from", "left"), ("to", "left"), ("seconds", "right"),
        ("an hour", "right"), ("amount", "right"),
    ]  # fmt: skip
    names = ("kind", "from", "to", "seconds", "hourly", "amount")
    show_table(columns, [[line[name] for name in names] for line in told["lines"]])
    show_pairs([("total", f"{told['total']} {told['currency']}")])
