"""One platform and one Chromium for the browser tier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.stacks import Platform, platform

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform("browser", tmp_path_factory.mktemp("browser")) as running:
        yield running
        assert running.broken() == []


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    assert Path(CHROMIUM).exists(), "Chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.accept())
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.extend(_trouble(message)))
    yield page
    context.close()
    assert problems == []


def _trouble(message: ConsoleMessage) -> list[str]:
    """Return what is wrong when the browser complains; a form refused with 400 and a missing icon are not."""
    url = message.location["url"]
    expected = "status of 400" in message.text or url.endswith("/favicon.ico")
    return [f"{message.text} {url}"] if message.type == "error" and not expected else []


def sign_in(page: Page, site: Platform, name: str) -> None:
    """Sign in through the form."""
    email = f"{name}@demo.local"
    page.goto(f"{site.url}/account/login/")
    page.fill("input[name=login]", email)
    page.fill("input[name=password]", site.passwords[email])
    press(page, "main form button[type=submit]")
    page.wait_for_url(f"{site.url}/")


def sign_out(page: Page, site: Platform) -> None:
    """Sign out through the menu."""
    page.goto(site.url)
    press(page, "text=Sign out")
    page.wait_for_selector("text=Sign in")


def press(page: Page, selector: str) -> None:
    """Click what leads to another page or sends a form, and wait until the answer is there.

    A click alone does not wait: what reads next would see the old page, and a `goto` would cut the form off.
    """
    with page.expect_navigation():
        page.click(selector)
