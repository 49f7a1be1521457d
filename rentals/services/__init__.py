"""What may be done with rentals. Doors import from here only."""

from rentals.services.life import (
    end_rental,
    fail_rental,
    mark_gone,
    mark_pulling,
    mark_running,
    mark_starting,
    mark_stopped,
    start_rental,
    stop_rental,
)
from rentals.services.outages import note_probe, pause_billing, resume_billing
from rentals.services.presenting import describe, rental_actions, ssh_command
from rentals.services.renting import quote_offer, request_rental, upsert_official_template

__all__ = [
    "describe",
    "end_rental",
    "fail_rental",
    "mark_gone",
    "mark_pulling",
    "mark_running",
    "mark_starting",
    "mark_stopped",
    "note_probe",
    "pause_billing",
    "quote_offer",
    "rental_actions",
    "request_rental",
    "resume_billing",
    "ssh_command",
    "start_rental",
    "stop_rental",
    "upsert_official_template",
]
