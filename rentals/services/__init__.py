"""What may be done with rentals. Doors import from here only."""

from rentals.services.brake import forget_failed_starts
from rentals.services.explaining import explain
from rentals.services.keys import change_keys
from rentals.services.life import (
    deadline_of,
    fail_rental,
    lose_disk,
    mark_gone,
    mark_pulling,
    mark_running,
    mark_starting,
    mark_stopped,
)
from rentals.services.limits import enforce_limits, set_limits
from rentals.services.outages import note_probe, pause_billing, resume_billing, was_lost
from rentals.services.presenting import describe, rental_actions, ssh_command
from rentals.services.renting import quote_offer, request_rental, upsert_official_template
from rentals.services.running_out import use_up
from rentals.services.steering import (
    end_rental,
    recreate_rental,
    restart_rental,
    start_rental,
    stop_rental,
)
from rentals.services.timeline import timeline

__all__ = [
    "change_keys",
    "deadline_of",
    "describe",
    "end_rental",
    "enforce_limits",
    "explain",
    "fail_rental",
    "forget_failed_starts",
    "lose_disk",
    "mark_gone",
    "mark_pulling",
    "mark_running",
    "mark_starting",
    "mark_stopped",
    "note_probe",
    "pause_billing",
    "quote_offer",
    "recreate_rental",
    "rental_actions",
    "request_rental",
    "restart_rental",
    "resume_billing",
    "set_limits",
    "ssh_command",
    "start_rental",
    "stop_rental",
    "timeline",
    "upsert_official_template",
    "use_up",
    "was_lost",
]
