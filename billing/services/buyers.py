"""Whom invoices are made out to, and which value added tax is in what they pay. Rates in basis points."""

from __future__ import annotations

import re
import unicodedata
import uuid
from dataclasses import dataclass

import stdnum
from django.conf import settings
from django.db import transaction
from stdnum.exceptions import ValidationError

from accounts.actors import Actor
from audit import services as audit
from billing.models import BillingDetails
from core import clock
from core.errors import Invalid

_EU = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
# ISO 3166-1 alpha-2, as of 2026.
_ISO = """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT
    BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER
    ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID
    IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV
    LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR
    NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL
    SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC
    VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
EU = frozenset(_EU.split())
COUNTRIES = frozenset(_ISO.split())
LIMITS = {"name": 120, "company": 120, "address": 500}
_ANY_VAT_ID = re.compile(r"[A-Z0-9]{4,20}", re.ASCII)
_SPACING = re.compile(r"[\s.\-/]+")
REVERSE_CHARGE = (
    "Reverse charge: the recipient accounts for the VAT (Article 196 of Directive 2006/112/EC)."
)


@dataclass(frozen=True)
class Tax:
    """How much of a price is tax: `rate` in basis points on the net price, and what to say about it."""

    rate: int
    note: str


def buyer_out(details: BillingDetails) -> dict[str, str]:
    """Return whom a paper is made out to, as every door and the paper itself say it."""
    return {
        "name": details.name,
        "company": details.company,
        "address": details.address,
        "country": details.country,
        "vat_id": details.vat_id,
    }


def details_of(*, owner_id: uuid.UUID) -> BillingDetails:
    """Return whom a person's next invoice is made out to; empty when they have not said. Not stored."""
    found = BillingDetails.objects.filter(pk=owner_id).first()
    return found or BillingDetails(owner_id=owner_id, changed_at=clock.now())


@transaction.atomic
def set_details(
    *, actor: Actor, name: str, company: str, address: str, country: str, vat_id: str
) -> BillingDetails:
    """Say whom the actor's invoices are made out to from now on; what is issued stays as it is.

    Raises Invalid `details_too_long`, `details_unprintable`, `country_unknown`, `vat_id_invalid`.
    """
    actor.require("wallet:deposit")
    texts = {"name": name, "company": company, "address": address}
    texts = {field: _printable(field, text) for field, text in texts.items()}
    country = country.strip().upper()
    if country and country not in COUNTRIES:
        raise Invalid(
            "country_unknown", "Name the country by its two letters of ISO 3166, such as NO."
        )
    fields = {**texts, "country": country, "vat_id": _vat_id(country, vat_id)}
    made, _ = BillingDetails.objects.update_or_create(
        owner_id=actor.user_id, defaults={**fields, "changed_at": clock.now()}
    )
    # Names and addresses stay out of the log, which nobody can erase.
    audit.record(
        actor=actor,
        verb="billing_details.set",
        subject_type="user",
        subject_id=actor.user_id,
        data={"country": country, "has_vat_id": bool(fields["vat_id"])},
    )
    return made


def _printable(field: str, text: str) -> str:
    """Return a text of lines that can be printed."""
    lines = [line.strip() for line in text.strip().splitlines()]
    if field != "address":
        lines = [" ".join(lines)] if lines else []
    tidy = "\n".join(line for line in lines if line)
    if len(tidy) > LIMITS[field]:
        raise Invalid("details_too_long", f"The {field} has at most {LIMITS[field]} characters.")
    if any(unicodedata.category(char) in {"Cc", "Cs", "Co", "Cn"} for char in tidy if char != "\n"):
        raise Invalid("details_unprintable", f"The {field} has characters that cannot be printed.")
    return tidy


def _vat_id(country: str, given: str) -> str:
    """Return a VAT id in its compact form, its format checked as far as its country has rules."""
    compact = _SPACING.sub("", given).upper()
    if not compact:
        return ""
    refused = Invalid(
        "vat_id_invalid",
        "This is no VAT id of that country. Write it as on your own invoices, and set the country.",
    )
    if not country or not _ANY_VAT_ID.fullmatch(compact):
        raise refused
    rules = stdnum.get_cc_module(country.lower(), "vat")
    if rules is None:
        return compact
    try:
        number = str(rules.validate(compact))
    except ValidationError as error:
        raise refused from error
    prefix = "EL" if country == "GR" else country
    return number if country not in EU or number.startswith(prefix) else f"{prefix}{number}"


def tax_for(*, country: str, vat_id: str) -> Tax:
    """Return the tax in the price that a buyer pays; who does not say where they are is taken as near."""
    seller = settings.DC.seller_country
    both_in_eu = seller in EU and country in EU
    if both_in_eu and country != seller and vat_id:
        return Tax(0, REVERSE_CHARGE)
    rate = settings.DC.vat_table.get(country or seller, 0)
    return Tax(rate, "" if rate else "No VAT is charged.")
