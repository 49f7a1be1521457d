"""Which SSH keys open a rental: chosen at the rent, changed while it runs."""

from __future__ import annotations

import uuid

from django.db import transaction

from accounts import services as accounts
from accounts.actors import Actor
from core.errors import Conflict, Invalid, NotFound
from nodes import services as nodes
from rentals.machine import State
from rentals.models import Rental
from rentals.services.moving import announce, is_ending, tell_of_steering
from rentals.services.steering import mine


def chosen_keys(actor: Actor, ids: list[uuid.UUID] | None) -> list[str]:
    """Return the public keys with these ids, all of the actor's for None.

    Raises Invalid `ssh_key_needed`, NotFound `ssh_key_unknown`.
    """
    known = {key.pk: key.public_key for key in accounts.ssh_keys_of(actor=actor)}
    wanted = list(known) if ids is None else ids
    if not wanted:
        raise Invalid(
            "ssh_key_needed", "Add an SSH public key first; without it nobody could log in."
        )
    if any(key_id not in known for key_id in wanted):
        raise NotFound("ssh_key_unknown", "You have no such SSH key.")
    return [known[key_id] for key_id in wanted]


@transaction.atomic
def change_keys(
    *, actor: Actor, rental_id: uuid.UUID, ssh_key_ids: list[uuid.UUID] | None
) -> Rental:
    """Let other keys in from now on, without a restart; sessions that are open stay open.

    Raises as `chosen_keys` does, Conflict `action_not_now` when the rental has ended.
    """
    rental = mine(actor, rental_id)
    if State(rental.state) is State.ENDED or is_ending(rental):
        raise Conflict("action_not_now", "This rental has ended; there is nothing to log in to.")
    rental.ssh_keys = chosen_keys(actor, ssh_key_ids)
    rental.save(update_fields=["ssh_keys"])
    nodes.revise_keys(actor=actor, workload_id=rental.workload_id, ssh_keys=rental.ssh_keys)
    tell_of_steering(actor, rental, "keys", keys=len(rental.ssh_keys))
    announce(rental)
    return rental
