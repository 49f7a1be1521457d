"""Whether the platform's own tunnel servers work, as its looks at them say. Outages are kept as evidence."""

from __future__ import annotations

import datetime as dt
import uuid

from django.conf import settings
from django.db import transaction

from accounts.actors import Actor
from audit import services as audit
from core import clock
from nodes.models import ProxyServer, TunnelOutage

# Who looks less often than this does not know since when something is down.
LOOKS_TRUSTED = 4


@transaction.atomic
def note_tunnels(*, server_name: str, error: str) -> TunnelOutage | None:
    """Write down one look at a tunnel server; `error` is empty when it answered. Returns the open outage.

    An outage begins at the last look that was answered, unless nobody looked for a while, and ends with the
    first that is answered again.
    """
    server = ProxyServer.objects.lock().filter(name=server_name).first()
    if server is None:
        return None
    now = clock.now()
    outage = TunnelOutage.objects.lock().filter(server=server, until=None).first()
    if not error:
        server.last_good = now
        server.save(update_fields=["last_good"])
        if outage is not None:
            _close(outage, now)
        return None
    if outage is None:
        outage = _open(server, now)
    outage.looks += 1
    outage.error = error[:200]
    outage.save(update_fields=["looks", "error"])
    return outage


def _open(server: ProxyServer, now: dt.datetime) -> TunnelOutage:
    trusted = dt.timedelta(seconds=LOOKS_TRUSTED * settings.DC.heartbeat_seconds)
    known = server.last_good is not None and now - trusted <= server.last_good <= now
    since = server.last_good if known and server.last_good is not None else now
    outage = TunnelOutage.objects.create(server=server, since=since)
    _record(outage, "tunnels.down")
    return outage


def _close(outage: TunnelOutage, now: dt.datetime) -> None:
    outage.until = max(now, outage.since)
    outage.save(update_fields=["until"])
    _record(outage, "tunnels.back")


def _record(outage: TunnelOutage, verb: str) -> None:
    audit.record(
        actor=Actor.system(),
        verb=verb,
        subject_type="tunnel_outage",
        subject_id=outage.pk,
        data={
            "server": outage.server.name,
            "since": outage.since.isoformat(),
            "until": outage.until and outage.until.isoformat(),
            "looks": outage.looks,
        },
    )


def tunnels_down(*, host: str) -> bool:
    """Whether the tunnel server with this public address is known not to work."""
    return bool(TunnelOutage.objects.filter(server__public_host=host, until=None).exists())


def tunnels_back(*, host: str, before: dt.datetime) -> dt.datetime | None:
    """When the newest outage of the tunnel server with this public address ended, of those over by `before`."""
    over = TunnelOutage.objects.filter(server__public_host=host, until__lte=before)
    return over.order_by("-until").values_list("until", flat=True).first()


def unsettled_outages(*, before: dt.datetime) -> list[TunnelOutage]:
    """Return outages that were over before this instant and are not dealt with, oldest first."""
    over = TunnelOutage.objects.filter(settled_at=None, until__lt=before)
    return list(over.select_related("server").order_by("since")[:100])


@transaction.atomic
def note_settled(*, outage_id: uuid.UUID) -> None:
    """An outage is dealt with; harmless the second time."""
    TunnelOutage.objects.filter(pk=outage_id, settled_at=None).update(settled_at=clock.now())
