"""What a stack decides before and between its programs, without starting any."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.local.stack import has_moved, membership

HERE = {
    "DC_PUBLIC_URL": "http://127.0.0.1:8000",
    "DC_GATEWAY_URL": "ws://127.0.0.1:8001/ws/agent",
}
JOINED = {
    "node_id": "n",
    "key_id": "k",
    "deployment": "http://127.0.0.1:8000",
    "gateway_url": "ws://127.0.0.1:8001/ws/agent",
    "node_key": "dcn_x_y",
}


def test_what_a_join_brought_is_read_and_nothing_before_it(tmp_path: Path) -> None:
    assert membership(tmp_path / "agent") is None
    (tmp_path / "membership.json").write_text(json.dumps(JOINED))
    assert membership(tmp_path) == JOINED


def test_an_agent_joins_again_when_its_platform_has_another_port_or_another_name() -> None:
    assert not has_moved(JOINED, HERE)
    assert has_moved(JOINED, HERE | {"DC_PUBLIC_URL": "http://127.0.0.1:18080"})
    assert has_moved(JOINED, HERE | {"DC_GATEWAY_URL": "ws://127.0.0.1:9001/ws/agent"})
    named = HERE | {"DC_DEPLOYMENT": "http://127.0.0.1:8000"}
    assert not has_moved(JOINED, named | {"DC_PUBLIC_URL": "http://127.0.0.1:18080"})
    assert has_moved(JOINED, HERE | {"DC_DEPLOYMENT": "https://market.example"})
