"""Run a pre-flight: plan, ask the registry with no transaction open, judge. Slow, so each person has few a minute."""

from __future__ import annotations

from django.core.cache import cache
from django.db import connection

from accounts.actors import Actor
from core.errors import RateLimited
from rentals import registry, services
from rentals.models import Preflight
from rentals.registry import Login, RegistryTrouble
from rentals.services.preflight import Asked, Plan

MOST_A_MINUTE = 20
MINUTE = 60


def run(*, actor: Actor, plan: Plan, login: Login | None = None) -> Preflight:
    """Ask the registry about the image, with the renter's own log-in if the template names one; judge the whole.

    Takes `registry.TOTAL_SECONDS` at most. Raises RateLimited `preflight_often`.
    """
    _require_turn(actor)
    login = login or services.login_of(actor=actor, image=plan.image, name=plan.login)
    if not connection.in_atomic_block:
        # A registry may be slow; what others need of the pool is not held meanwhile.
        connection.close()
    return services.record_preflight(actor=actor, plan=plan, asked=_ask(actor, plan, login))


def _ask(actor: Actor, plan: Plan, login: Login | None) -> Asked:
    try:
        found = registry.look_up(
            plan.image, architecture=plan.architecture, login=login, asker=actor.id
        )
        return Asked(found)
    except RegistryTrouble as trouble:
        return Asked(None, trouble.code, trouble.message)


def _require_turn(actor: Actor) -> None:
    key = f"preflights:{actor.user_id}"
    try:
        count = 1 if cache.add(key, 1, MINUTE) else cache.incr(key)
    except ValueError:
        # The minute was over in between.
        count = 1
    if count > MOST_A_MINUTE:
        raise RateLimited(
            "preflight_often",
            f"At most {MOST_A_MINUTE} pre-flights a minute. Wait a little and try again.",
            retry_after=MINUTE,
        )
