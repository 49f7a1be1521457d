"""What every bench on a database shares: a PostgreSQL of its own, Django on it, and the line that is printed.

Importing this sets Django up, so it comes before anything of the platform; the database starts later.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import django
from django.core.management import call_command

from deploy.local import engines
from tests.databases import OwnPostgres, environment, own_folder, own_postgres, sockets_of

os.environ.update(environment(engines.database_url(sockets_of(own_folder()))))
django.setup()

from core import outbox  # noqa: E402  # the set-up comes first


@contextmanager
def platform_database() -> Iterator[OwnPostgres]:
    """Run a fresh, durable PostgreSQL with the platform's tables until the end of the block."""
    with own_postgres() as server:
        call_command("migrate", verbosity=0)
        # There is no worker to hint at.
        outbox.set_hint(lambda: None)
        yield server


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def report(
    bench: str, case: str, *, ours: float, floor: float, unit: str, must: float | None = None,
    aim: float | None = None, more_is_better: bool = False, by: Literal["ratio", "ours"] = "ratio",
) -> bool:  # fmt: skip
    """Print one line; True when ours / floor (or ours alone) is on the right side of `must`.

    What nobody has set a bound for is told without one, and is always true.
    """
    ratio = ours / floor
    judged = ratio if by == "ratio" else ours
    ok = must is None or (judged >= must if more_is_better else judged <= must)
    line = {
        "bench": bench, "case": case, "ours": float(f"{ours:.4g}"), "floor": float(f"{floor:.4g}"),
        "ratio": round(ratio, 2), "unit": unit, "by": by, "must": must, "aim": aim, "ok": ok,
    }  # fmt: skip
    print(json.dumps(line), flush=True)
    return ok
