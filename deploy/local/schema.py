"""Tells whether the database was made by the migrations that lie here.

Until 1.0 the migrations are rewritten in place. Django knows them by name only, so a database of an earlier
edition passes `migrate` and fails later, in the middle of a request, for want of a column.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import psycopg

from deploy.local.keys import write_private
from deploy.local.places import CHECKOUT

RECORD = "migrations.json"
# What a migration takes from our own code and writes into the database: triggers and guards.
_TAKES = re.compile(r"^from (\w+)\.(\w+) import ", re.MULTILINE)


def editions(checkout: Path = CHECKOUT) -> dict[str, str]:
    """Return a digest of each migration by its name, `nodes/0001_initial`; comments do not count."""
    files = sorted(checkout.glob("*/migrations/[0-9]*.py"))
    return {f"{file.parent.parent.name}/{file.stem}": _digest(file, checkout) for file in files}


def _digest(file: Path, checkout: Path) -> str:
    digest = hashlib.sha256()
    text = file.read_text()
    taken = [checkout / app / f"{room}.py" for app, room in _TAKES.findall(text)]
    for content in (text, *(path.read_text() for path in taken if path.exists())):
        digest.update("\n".join(_telling(content)).encode() + b"\0")
    return digest.hexdigest()[:16]


def _telling(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.rstrip()


def applied(database_url: str) -> set[str]:
    """Return the names of the migrations that made this database; nothing for an empty one."""
    with psycopg.connect(database_url, connect_timeout=5) as connection:
        there = connection.execute("SELECT to_regclass('django_migrations')").fetchone()
        if there is None or there[0] is None:
            return set()
        rows = connection.execute("SELECT app, name FROM django_migrations").fetchall()
    return {f"{app}/{name}" for app, name in rows}


def rewritten(
    applied_names: Collection[str], recorded: Mapping[str, str], here: Mapping[str, str]
) -> list[str]:
    """Return which applied migrations of ours are not those that lie here; one without a record is not."""
    apps = {name.partition("/")[0] for name in (*recorded, *here)}
    ours = [name for name in applied_names if name.partition("/")[0] in apps]
    return sorted(name for name in ours if recorded.get(name, "") != here.get(name))


def settle(state: Path, database_url: str) -> list[str]:
    """Compare the database with this checkout; record the editions when they fit, else return what does not."""
    record, here = state / RECORD, editions()
    recorded = json.loads(record.read_text()) if record.exists() else {}
    strange = rewritten(applied(database_url), recorded, here)
    # Recorded before `migrate`: a first start that is interrupted in the middle can go on.
    if not strange and recorded != here:
        write_private(record, json.dumps(here, indent=1))
    return strange
