"""What makes the notices of an account."""

from __future__ import annotations

from allauth.account.models import EmailAddress
from django.core import mail
from django.test import Client

from accounts import services as accounts
from accounts.models import User
from core.ids import new_id
from tests import cast
from tests.doors import pages_of
from tests.notices.stage import Stage

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/142.0 Safari/537.36"
PASSWORD = "correct horse battery"


def sign_in(user: User, agent: str, address: str) -> None:
    """Sign in through the form, from a browser at an address."""
    EmailAddress.objects.get_or_create(
        user=user, email=user.email, defaults={"verified": True, "primary": True}
    )
    client = Client(REMOTE_ADDR=address, headers={"User-Agent": agent})
    answer = client.post("/account/login/", {"login": user.email, "password": PASSWORD})
    assert answer.status_code == 302, answer.content


def a_network() -> str:
    """Return an address of a network that Redis, which outlives a run, has not counted yet."""
    mark = new_id().hex
    return f"2001:db8:{mark[:4]}:{mark[4:8]}::1"


def new_sign_in(stage: Stage) -> None:
    user, home = User.objects.get(pk=stage.alice.user_id), a_network()
    sign_in(user, FIREFOX, home)
    sign_in(user, FIREFOX, home)
    sign_in(user, CHROME, home)
    sign_in(user, CHROME, home)


def password_changed(stage: Stage) -> None:
    form = {"oldpassword": PASSWORD, "password1": "another horse 9", "password2": "another horse 9"}
    answer = pages_of(stage.alice).post("/account/password/change/", form)
    assert answer.status_code == 302


def email_changed(stage: Stage) -> None:
    user = User.objects.get(pk=stage.alice.user_id)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    new = EmailAddress.objects.create(user=user, email=f"new-{user.email}", verified=True)
    form = {"action_primary": "", "email": new.email}
    assert pages_of(stage.alice).post("/account/email/", form).status_code == 302
    assert not mail.outbox


def ssh_key_added(stage: Stage) -> None:
    accounts.add_ssh_key(actor=stage.alice, name="laptop", public_key=cast.public_ssh_key())


def api_key_made(stage: Stage) -> None:
    accounts.create_api_key(actor=stage.alice, name="ci", scopes=["offer:read"])


CAUSES = {
    "sign_in_new": new_sign_in,
    "password_changed": password_changed,
    "email_changed": email_changed,
    "ssh_key_added": ssh_key_added,
    "api_key_made": api_key_made,
}
