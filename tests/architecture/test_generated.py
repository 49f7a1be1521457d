"""What is generated from the code and committed says what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import call_command

from tests.architecture.tree import ROOT

GENERATED = {
    "docs/states.md": "state_diagrams",
    "docs/reasons.md": "reason_catalogue",
    "docs/notifications.md": "notice_catalogue",
    "docs/credits.md": "credit_rules",
    "docs/offer-fields.md": "offer_fields",
    "docs/protocol.schema.json": "protocol_schema",
    "docs/api/v1.yaml": "spectacular",
}


@pytest.mark.parametrize("name", GENERATED)
def test_it_is_what_run_schema_would_write(name: str, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    call_command(GENERATED[name], file=str(fresh) if name.endswith("yaml") else fresh)
    assert (ROOT / name).read_text() == fresh.read_text(), "run ./run schema and commit it"
