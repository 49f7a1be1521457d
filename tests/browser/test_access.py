"""Every page is usable by everybody: axe finds nothing, and nothing is wider than the screen.

The pages are those of the URLconf: an address without a row here fails.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from playwright.sync_api import Page

from tests.browser.conftest import sign_in, sign_out
from tests.stacks import Platform, wait_for

WIDTHS = (1280, 375)
SCHEMES = ("light", "dark")
# A colour that axe reads half-way through a fade is nobody's colour.
STILL = """!document.querySelector('.htmx-request')
    && !document.getAnimations().some(each => each instanceof CSSTransition)"""
# Who looks at which pages; of the arguments, `Things` knows the values.
PAGES: dict[str, tuple[str, ...]] = {
    "": (
        "landing", "market", "account_login", "account_signup", "account_reset_password",
        "account_reset_password_done", "account_email_verification_sent", "account_inactive", "offer",
    ),
    "alice": (
        "landing", "quote", "rentals", "rental", "rental_bill", "templates", "template", "template_new",
        "template_edit", "secrets", "ssh_keys", "api_keys", "notices", "notice_choices", "wallet", "movement",
        "deposit", "fake_checkout", "statements", "statement", "invoices", "account_email",
        "account_change_password", "account_logout", "offer",
    ),
    "bob": ("fleet", "fleet_prices", "machine", "smart_price", "rental_raise", "earnings"),
}  # fmt: skip
NO_PAGES = {
    "answers a button": (
        "api_key_revoke", "cancel_payout", "machine_drain", "node_key_revoke", "notice", "notices_read",
        "quote_preflight", "rental_action", "rental_checkpoint", "rental_extend", "rental_keys", "rental_limits",
        "rental_price", "secret_delete", "secret_rotate", "ssh_key_remove", "template_action",
        "top_up",
    ),
    "a part of a page that has a row": ("fleet_fragment", "notices_bell", "rental_fragment"),
    "a file, or for programs": ("api_docs", "health", "invoice_pdf", "schema", "template_file", "webhook"),
    # billing/tests render it; here no month has ended.
    "an invoice, which needs a month that is over": ("invoice",),
    "leads on, or needs the key of a mail": (
        "account_confirm_email", "account_reset_password_from_key", "account_reset_password_from_key_done",
        "account_set_password", "account_reauthenticate", "account_confirm_login_code",
    ),
}  # fmt: skip


def addresses(patterns: Any, prefix: str = "") -> Iterator[str]:
    """Yield the name of every address that is not the API's or the admin's."""
    for each in patterns:
        path = prefix + str(each.pattern)
        if isinstance(each, URLResolver) and not path.startswith(("api/v1/", "admin/")):
            yield from addresses(each.url_patterns, path)
        elif isinstance(each, URLPattern):
            yield each.name or path


def test_every_address_has_a_row() -> None:
    rows = {name for names in (*PAGES.values(), *NO_PAGES.values()) for name in names}
    assert set(addresses(get_resolver().url_patterns)) == rows


class Things:
    """Something of everything that an address can name."""

    def __init__(self, site: Platform) -> None:
        self.site = site
        assert site.ssh_key.exists()
        quote = site.quote()
        rental_id = site.rent()
        site.wait_state(rental_id, "running")
        moved = site.get("alice", "wallet/statement/")["rows"][0]
        launch = {"image": site.stack.image, "disk_gb": 1}
        body = {"name": "Mine", "slug": f"m-{uuid.uuid4().hex[:8]}", "launch": launch}
        template = self._made("templates/", body)["template"]["id"]
        deposit = self._made("deposits/", {"amount": "5"})["id"]
        self.named: dict[str, dict[str, Any]] = {
            "offer": {"offer_id": quote["offer_id"]},
            "quote": {"quote_id": quote["id"]},
            "rental": {"rental_id": rental_id},
            "rental_bill": {"rental_id": rental_id},
            "rental_raise": {"rental_id": rental_id},
            "template": {"template_id": template},
            "template_edit": {"template_id": template},
            "movement": {"transfer_id": moved["id"]},
            "statement": {"month": moved["at"][:7]},
            "deposit": {"deposit_id": deposit},
            "fake_checkout": {"deposit_id": deposit},
            "machine": {"node_id": site.get("bob", "nodes/")[0]["id"]},
            "smart_price": {"node_id": site.get("bob", "nodes/")[0]["id"]},
        }
        self.rental_id = rental_id

    def _made(self, path: str, body: dict[str, Any]) -> Any:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        answer = self.site.call("alice", "POST", path, json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.json()["data"]

    def free_the_machine(self) -> None:
        """Stop the rental, so that the machine's offer can be looked at."""
        if self.site.rental(self.rental_id)["state"] == "running":
            self.site.act(self.rental_id, "stop")
        self.site.wait_state(self.rental_id, "stopped")
        wait_for(lambda: self.site.get("alice", "offers/")["rows"], seconds=30, what="an offer")

    def address(self, name: str) -> str:
        return self.site.url + reverse(name, kwargs=self.named.get(name))


@pytest.fixture(scope="module")
def things(site: Platform) -> Iterator[Things]:
    made = Things(site)
    yield made
    site.act(made.rental_id, "end")
    site.wait_state(made.rental_id, "ended")
    wait_for(lambda: site.get("alice", "offers/")["rows"], seconds=30, what="an offer")


@pytest.mark.parametrize("who", PAGES)
def test_pages_are_usable_by_everybody(
    site: Platform, things: Things, page: Page, who: str
) -> None:
    axe = Path(os.environ.get("DC_NODE_MODULES", "node_modules")) / "axe-core" / "axe.min.js"
    if who:
        sign_in(page, site, who)
    found = {}
    for name in PAGES[who]:
        if name == "offer":
            things.free_the_machine()
        answer = page.goto(things.address(name))
        assert answer is not None
        assert answer.status == 200, name
        page.evaluate(axe.read_text())
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                if wrong := violations(page):
                    found[name, width, scheme] = wrong
    assert found == {}
    if who:
        sign_out(page, site)


def violations(page: Page) -> list[str]:
    """Return what axe finds, and what is too wide, once nothing on the page fades in or out."""
    # The pages' policy forbids the evaluation that Playwright's own waiting needs.
    wait_for(lambda: page.evaluate(STILL), seconds=10, what="a page at rest")
    found: list[str] = page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})"
        ".then(r => r.violations.map(v => `${v.id}: ${v.nodes.map(n => n.html).join(' | ')}`))"
    )
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return [*found, f"{wide} px too wide"] if wide > 0 else found
