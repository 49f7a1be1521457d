"""What may be done with rentals. Doors import from here only."""

from rentals.services.addresses import give_up_addresses
from rentals.services.brake import forget_failed_starts
from rentals.services.consent import answer_price, offer_raise
from rentals.services.crediting import credit_tunnels
from rentals.services.explaining import explain
from rentals.services.fitting import search_for
from rentals.services.keys import change_keys
from rentals.services.launching import Changes, login_of, secrets_read, secrets_to_agree
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
from rentals.services.limits import (
    enforce_limits,
    extend_rental,
    note_idle,
    set_checkpoint,
    set_limits,
)
from rentals.services.moving import was_lost
from rentals.services.outages import note_probe, pause_billing, resume_billing
from rentals.services.preflight import (
    forget_preflights,
    newest_preflight,
    plan_preflight,
    plan_preflight_of_quote,
    record_preflight,
)
from rentals.services.preflight.prediction import FORMULA
from rentals.services.preflight.prediction import sentence as prediction_sentence
from rentals.services.presenting import (
    Facts,
    describe,
    facts_of,
    price_sentence,
    rental_actions,
    ssh_command,
)
from rentals.services.prices import pending_price, review_price
from rentals.services.quotes import forget_quotes
from rentals.services.renting import quote_offer, request_rental
from rentals.services.running_out import use_up
from rentals.services.steering import (
    OF_STAFF,
    end_rental,
    is_own,
    recreate_rental,
    require_own,
    restart_rental,
    start_rental,
    stop_rental,
)
from rentals.services.telling import (
    tell_of_answer,
    tell_of_contact,
    tell_of_drain,
    tell_of_limit,
    tell_of_logs,
    tell_of_move,
    tell_of_price,
    tell_of_proposal,
    tell_of_reserve,
    tell_of_steering,
)
from rentals.services.templating import (
    add_version,
    archive_template,
    create_template,
    document_of,
    is_owner,
    set_public,
    startable_templates,
    templates_page,
    upsert_official_template,
    version_of,
    versions_of,
    visible_template,
)
from rentals.services.timeline import timeline

__all__ = [
    "FORMULA",
    "OF_STAFF",
    "Changes",
    "Facts",
    "add_version",
    "answer_price",
    "archive_template",
    "change_keys",
    "create_template",
    "credit_tunnels",
    "deadline_of",
    "describe",
    "document_of",
    "end_rental",
    "enforce_limits",
    "explain",
    "extend_rental",
    "facts_of",
    "fail_rental",
    "forget_failed_starts",
    "forget_preflights",
    "forget_quotes",
    "give_up_addresses",
    "is_own",
    "is_owner",
    "login_of",
    "lose_disk",
    "mark_gone",
    "mark_pulling",
    "mark_running",
    "mark_starting",
    "mark_stopped",
    "newest_preflight",
    "note_idle",
    "note_probe",
    "offer_raise",
    "pause_billing",
    "pending_price",
    "plan_preflight",
    "plan_preflight_of_quote",
    "prediction_sentence",
    "price_sentence",
    "quote_offer",
    "record_preflight",
    "recreate_rental",
    "rental_actions",
    "request_rental",
    "require_own",
    "restart_rental",
    "resume_billing",
    "review_price",
    "search_for",
    "secrets_read",
    "secrets_to_agree",
    "set_checkpoint",
    "set_limits",
    "set_public",
    "ssh_command",
    "start_rental",
    "startable_templates",
    "stop_rental",
    "tell_of_answer",
    "tell_of_contact",
    "tell_of_drain",
    "tell_of_limit",
    "tell_of_logs",
    "tell_of_move",
    "tell_of_price",
    "tell_of_proposal",
    "tell_of_reserve",
    "tell_of_steering",
    "templates_page",
    "timeline",
    "upsert_official_template",
    "use_up",
    "version_of",
    "versions_of",
    "visible_template",
    "was_lost",
]
