"""Ways to pay hosts: by pretending, by a person at the bank, and by Stripe through its own library."""

from __future__ import annotations

import re
import uuid
from typing import Any

import stripe

from billing.providers.base import ProviderAway, Sent
from billing.providers.stripe_ import NANO_PER_CENT, client_of, plain_errors

_ACCOUNT = re.compile(r"acct_[A-Za-z0-9]{8,64}", re.ASCII)
_PLAIN = re.compile(r"[\x20-\x7e]{5,100}", re.ASCII)


class FakePayouts:
    """Pays nobody; for demo, development and tests."""

    name = "fake"
    manual = False

    def check_destination(self, given: str) -> bool:
        """Anything printable will do."""
        return bool(_PLAIN.fullmatch(given))

    def send(self, *, payout_id: uuid.UUID, amount: int, currency: str, destination: str) -> Sent:
        """Pretend."""
        return Sent(f"fake-{payout_id}")

    def find(self, *, payout_id: uuid.UUID) -> Sent | None:
        """Know nothing: to pretend again does no harm."""
        return None


class BankPayouts:
    """Staff transfer at their bank and write the reference down; nothing is sent from here."""

    name = "bank"
    manual = True

    def check_destination(self, given: str) -> bool:
        """An account in plain characters: an IBAN, or a number with its bank code."""
        return bool(_PLAIN.fullmatch(given))

    def send(self, *, payout_id: uuid.UUID, amount: int, currency: str, destination: str) -> Sent:
        """Never asked for: a person does it."""
        raise ProviderAway("a person pays at the bank")

    def find(self, *, payout_id: uuid.UUID) -> Sent | None:
        """Know nothing: the person says when it is done."""
        return None


class StripePayouts:
    """Transfers to hosts' connected accounts. The payout's id is idempotency key and transfer group."""

    name = "stripe"
    manual = False

    def __init__(self, *, secret_key: str, api_base: str | None) -> None:
        self._client = client_of(secret_key, api_base)

    def check_destination(self, given: str) -> bool:
        """A connected account's id."""
        return bool(_ACCOUNT.fullmatch(given))

    def send(self, *, payout_id: uuid.UUID, amount: int, currency: str, destination: str) -> Sent:
        """Transfer whole cents; the same id gives the same transfer."""
        params: Any = {
            "amount": amount // NANO_PER_CENT,
            "currency": currency.lower(),
            "destination": destination,
            "transfer_group": str(payout_id),
            "metadata": {"payout_id": str(payout_id)},
        }
        options: Any = {"idempotency_key": f"payout-{payout_id}"}
        with plain_errors():
            try:
                return Sent(self._client.v1.transfers.create(params, options).id)
            except stripe.InvalidRequestError as error:
                if error.code == "balance_insufficient":  # ours, until a deposit has settled
                    raise ProviderAway(str(error)) from error
                raise

    def find(self, *, payout_id: uuid.UUID) -> Sent | None:
        """Return the transfer of a payout's group."""
        with plain_errors():
            found = self._client.v1.transfers.list({"transfer_group": str(payout_id), "limit": 1})
        return Sent(found.data[0].id) if found.data else None
