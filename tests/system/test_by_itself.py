"""What stops by itself: saved before its end, stopped when idle; and what it has sent is counted."""

from __future__ import annotations

import datetime as dt
from typing import Any

from tests.stacks import Platform, wait_for
from tests.system.test_main_job import end


def put(site: Platform, rental_id: str, what: str, body: dict[str, Any]) -> None:
    answer = site.call("alice", "PUT", f"rentals/{rental_id}/{what}/", json=body)
    assert answer.status_code == 200, answer.text


def test_work_is_saved_before_the_end_and_is_there_after_a_start(site: Platform) -> None:
    rental_id = site.rent()
    site.wait_state(rental_id, "running")
    command = "echo saved at $(id -un) > /root/saved; exit 7"
    put(site, rental_id, "checkpoint", {"command": command, "seconds": 2})
    ends_at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=6)
    put(site, rental_id, "limits", {"ends_at": ends_at.isoformat(), "spend_cap": None})
    rental = site.wait_state(rental_id, "stopped")
    assert rental["end"]["code"] == "end_reached"
    told = [step["words"] for step in site.get("alice", f"rentals/{rental_id}/timeline/")]
    assert "The checkpoint command: it ended with exit 7" in told
    body = {"hours": "1"}
    assert site.call("alice", "POST", f"rentals/{rental_id}/extend/", json=body).status_code == 200
    assert site.act(rental_id, "start").status_code == 200
    rental = site.wait_state(rental_id, "running")
    assert site.ssh(rental, "cat /root/saved").stdout == "saved at root\n"
    end(site, rental_id)


def test_an_idle_rental_is_found_out_stopped_and_what_it_sent_is_counted(site: Platform) -> None:
    rental_id = site.rent()
    rental = site.wait_state(rental_id, "running")
    done = site.ssh(rental, "head -c 70000000 /dev/zero; timeout 6 sh -c 'while :; do :; done'")
    assert len(done.stdout) == 70_000_000
    sent = wait_for(lambda: site.rental(rental_id)["sent_bytes"], seconds=20, what="bytes sent")
    assert sent == 64_000_000
    assert site.rental(rental_id)["idle_since"] is None
    wait_for(lambda: site.rental(rental_id)["idle_since"], seconds=30, what="idleness")
    put(site, rental_id, "limits", {"ends_at": None, "spend_cap": None, "idle_minutes": 5})
    # Nobody waits five minutes here.
    code = (
        "from rentals.models import Rental; "
        f"Rental.objects.filter(pk='{rental_id}').update(idle_minutes=0)"
    )
    site.stack.manage("shell", "-v", "0", "-c", code)
    rental = site.wait_state(rental_id, "stopped")
    assert rental["end"]["code"] == "idle"
    end(site, rental_id)
