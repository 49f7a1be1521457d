"""Every periodic task in one table. A late or doubled run does no harm."""

from __future__ import annotations

from typing import Any

from marketplace.env import Environment


def beat_schedule(env: Environment) -> dict[str, dict[str, Any]]:
    """Return Celery's schedule; periods in seconds come from the environment."""
    every = {
        "core.drain_outbox": ("marketplace.tasks.drain_outbox", env.outbox_sweep_seconds),
        "core.forget_keys": ("marketplace.tasks.forget_idempotency_keys", 3600.0),
        "audit.seal": ("audit.tasks.seal_events", 5.0),
        "accounts.mail": ("accounts.tasks.send_mail_due", env.mail_seconds),
        "accounts.forget_notices": ("accounts.tasks.forget_notices", 3600.0),
        "nodes.sweep_liveness": ("nodes.tasks.sweep_liveness", env.heartbeat_seconds / 2),
        "nodes.reconcile_ports": ("nodes.tasks.reconcile_ports", env.reconcile_seconds),
        "nodes.watch_tunnels": ("nodes.tasks.watch_tunnels", env.heartbeat_seconds),
        "nodes.rate": ("nodes.tasks.rate_machines", 3600.0),
        "nodes.prices": ("nodes.tasks.note_prices", 600.0),
        "nodes.smart_prices": ("nodes.tasks.step_prices", 600.0),
        "nodes.forget_logs": ("nodes.tasks.forget_logs", 3600.0),
        "rentals.reconcile": ("rentals.tasks.reconcile_rentals", env.reconcile_seconds),
        "rentals.forget_preflights": ("rentals.tasks.forget_preflights", 3600.0),
        "rentals.forget_quotes": ("rentals.tasks.forget_quotes", 3600.0),
        "rentals.prices": ("rentals.tasks.review_prices", 600.0),
        "rentals.tunnels": ("rentals.tasks.settle_tunnel_outages", env.reconcile_seconds),
        "rentals.probe": ("rentals.tasks.probe_rentals", env.probe_seconds),
        "rentals.give_up_addresses": ("rentals.tasks.give_up_addresses", 3600.0),
        "rentals.forget_failed_starts": ("rentals.tasks.forget_failed_starts", 3600.0),
        "billing.sweep": ("billing.tasks.sweep_exhausted_wallets", 1.0),
        "billing.deposits": ("billing.tasks.follow_deposits", 60.0),
        "billing.top_up": ("billing.tasks.top_up_wallets", 60.0),
        "billing.low": ("billing.tasks.warn_low_wallets", 60.0),
        "billing.debts": ("billing.tasks.collect_debts", 60.0),
        "billing.payouts": ("billing.tasks.send_payouts", 30.0),
        "billing.returns": ("billing.tasks.send_returns", 30.0),
        "billing.mature": ("billing.tasks.mature_earnings", env.mature_seconds),
        "billing.fees": ("billing.tasks.note_fees", 60.0),
        "billing.months": ("billing.tasks.close_months", 600.0),
        "billing.roll_up": ("billing.tasks.roll_up_meters", env.roll_up_seconds),
    }
    return {
        name: {"task": task, "schedule": period, "options": {"expires": max(period, 5.0)}}
        for name, (task, period) in every.items()
    }
