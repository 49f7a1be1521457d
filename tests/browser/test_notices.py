"""The bell counts by itself, and what is switched stays switched."""

from __future__ import annotations

import uuid

from playwright.sync_api import Page, expect

from tests.browser.conftest import press, sign_in
from tests.stacks import Platform


def make_key(site: Platform) -> str:
    """Let alice make an API key somewhere else; return its name."""
    name = f"ci {uuid.uuid4().hex[:8]}"
    answer = site.call("alice", "POST", "api-keys/", json={"name": name, "scopes": []})
    assert answer.status_code == 201
    return name


def test_the_bell_counts_without_a_reload_and_the_inbox_opens_what_it_is_about(
    site: Platform, page: Page
) -> None:
    sign_in(page, site, "alice")
    page.goto(f"{site.url}/notifications/")
    if page.locator("text=Mark all as read").count():
        press(page, "text=Mark all as read")
    expect(page.locator("#bell .badge")).to_have_text("0")
    name = make_key(site)
    expect(page.locator("#bell .badge")).to_have_text("1", timeout=15_000)
    expect(page.locator("#notices")).to_contain_text(f"API key made: {name}", timeout=15_000)
    press(page, f"text=API key made: {name}")
    page.wait_for_url(f"{site.url}/api-keys/")
    expect(page.locator("#bell .badge")).to_have_text("0")


def test_a_switch_is_kept_and_what_is_fixed_has_none(site: Platform, page: Page) -> None:
    sign_in(page, site, "alice")
    page.goto(f"{site.url}/notifications/choices/")
    switch = page.locator("input[value='rental_running.mail']")
    expect(switch).to_be_checked()
    switch.uncheck()
    press(page, "main form button:has-text('Save')")
    expect(page.locator("[role=status]")).to_contain_text("Saved.")
    expect(page.locator("input[value='rental_running.mail']")).not_to_be_checked()
    assert page.locator("input[value='sign_in_new.mail']").count() == 0
    page.locator("input[value='rental_running.mail']").check()
    press(page, "main form button:has-text('Save')")
    expect(page.locator("input[value='rental_running.mail']")).to_be_checked()
