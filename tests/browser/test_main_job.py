"""The main job as people do it: alice rents and logs in, bob sees what he earned, dora sees both."""

from __future__ import annotations

import subprocess
import time
from decimal import Decimal

from playwright.sync_api import Page

from tests.browser.conftest import press, sign_in, sign_out
from tests.stacks import Platform, wait_for


def test_alice_rents_logs_in_stops_and_sees_a_bill_that_adds_up(site: Platform, page: Page) -> None:
    key = site.folder / "typed_by_alice"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    wait_for(lambda: site.get("alice", "offers/")["rows"], seconds=30, what="an offer")
    sign_in(page, site, "alice")

    page.goto(f"{site.url}/ssh-keys/")
    page.fill("textarea[name=public_key]", key.read_text())
    press(page, "main form button:has-text('Add key')")
    assert "it is a private key" in page.inner_text("main")
    page.fill("textarea[name=public_key]", key.with_suffix(".pub").read_text())
    press(page, "main form button:has-text('Add key')")
    assert "SHA256:" in page.inner_text("main")

    page.goto(site.url)
    press(page, "main a.btn:has-text('Rent')")
    press(page, "main form button")
    # The page looks by itself before the button is pressed.
    page.wait_for_selector("#launch [data-check=manifest][data-result=ok]")
    assert page.locator("#launch [data-result=fail]").count() == 0
    press(page, "main form button:has-text('Rent now')")
    seen = watch(page, until="running")
    assert seen[-1] == "running"
    assert {"pulling", "starting"} & set(seen)

    line = page.inner_text("#ssh-line")
    words = line.split()
    options = [
        "-i",
        str(key),
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ]
    done = subprocess.run(
        [*words[:1], *options, *words[1:], "echo works-$((6*7))"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == "works-42\n", done.stderr

    # The bill counts whole seconds; on a fast machine the whole visit fits into one.
    rental_id = page.url.rstrip("/").rsplit("/", 1)[-1]
    wait_for(
        lambda: Decimal(site.rental(rental_id)["cost_so_far"]) > 0,
        seconds=10,
        what="a second of use",
    )
    page.click("button[value=stop]")
    page.wait_for_selector("[data-state=stopped]", timeout=30_000)
    page.click("button[value=end]")
    page.wait_for_selector("[data-state=ended]", timeout=30_000)
    assert not page.locator(".while-live").first.is_visible()
    press(page, "text=Explain the bill")
    rows = page.locator("tr[id^=line-]").all()
    amounts = [row.locator("td").all_inner_texts() for row in rows]
    total = Decimal(page.get_attribute("[data-total]", "data-total") or "0")
    assert total > 0
    assert sum(Decimal(cells[5]) for cells in amounts) == total

    sign_out(page, site)
    sign_in(page, site, "bob")
    page.goto(f"{site.url}/fleet/")
    assert "this-machine" in page.inner_text("#fleet")
    page.goto(f"{site.url}/earnings/")
    earned = Decimal(page.get_attribute("[data-total]", "data-total") or "0")
    share = Decimal(site.get("alice", f"rentals/{rental_id}/bill/")["host_share"])
    # He has earned by the rentals of other tests, too.
    assert Decimal(0) < share < total
    assert earned >= share

    sign_out(page, site)
    sign_in(page, site, "dora")
    page.goto(f"{site.url}/admin/rentals/rental/")
    assert "alice@demo.local" in page.inner_text("#result_list")
    page.goto(f"{site.url}/admin/nodes/node/")
    assert "bob@demo.local" in page.inner_text("#result_list")


def watch(page: Page, *, until: str, seconds: float = 60) -> list[str]:
    """Return the states that the page shows by itself, without a reload, up to `until`."""
    seen: list[str] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = page.evaluate("document.querySelector('#instance')?.dataset.state")
        if state and (not seen or seen[-1] != state):
            seen.append(state)
        if state == until:
            return seen
        page.wait_for_timeout(30)
    raise AssertionError(f"the page never showed {until}, only {seen}")


def test_a_nudge_reaches_the_page_within_a_second_and_without_polling(
    site: Platform, page: Page
) -> None:
    assert site.ssh_key.exists()
    rental_id = site.rent()
    site.wait_state(rental_id, "running")
    sign_in(page, site, "alice")
    page.goto(f"{site.url}/rentals/{rental_id}/")
    page.wait_for_selector("[data-live]:has-text('live')")
    # Polling only runs while the socket is down; forbid it altogether.
    page.evaluate("void (window.setInterval = () => { throw new Error('no polling here') })")
    site.act(rental_id, "end")
    page.wait_for_selector("[data-state=stopping], [data-state=ended]", timeout=5000)
    page.wait_for_selector("[data-state=ended]", timeout=30_000)


def test_wallet_list_and_machine_pages_follow_a_rental_by_themselves(
    site: Platform, page: Page
) -> None:
    assert site.ssh_key.exists()
    sign_in(page, site, "alice")
    page.goto(f"{site.url}/wallet/")
    page.wait_for_selector("[data-live]:has-text('live')")
    before = page.inner_text("#wallet dl")
    rentals = page.context.new_page()
    rentals.goto(f"{site.url}/rentals/")
    rentals.wait_for_selector("[data-live]:has-text('live')")
    rental_id = site.rent()
    rentals.wait_for_selector(f"#rentals a[href='/rentals/{rental_id}/']", timeout=5000)
    page.wait_for_function(
        "before => document.querySelector('#wallet dl').innerText !== before",
        arg=before,
        timeout=5000,
    )
    site.wait_state(rental_id, "running")
    sign_out(page, site)
    sign_in(page, site, "bob")
    page.goto(f"{site.url}/fleet/{site.get('bob', 'nodes/')[0]['id']}/")
    page.wait_for_selector("[data-live]:has-text('live')")
    shown = f"#machine-rentals tr:has-text('{rental_id[:8]}')"
    assert "running" in page.inner_text(shown)
    site.act(rental_id, "end")
    page.wait_for_selector(f"{shown}:has-text('absent')", timeout=20_000)
    site.wait_state(rental_id, "ended")
