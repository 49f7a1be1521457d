"""Domain events become nudges: the page that shows the thing fetches its fragment again."""

from __future__ import annotations

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from accounts.events import NoticesChanged
from billing.events import WalletChanged
from core.outbox import on
from nodes.events import NodeChanged
from nodes.models import Node
from realtime.rooms import room_of_user
from rentals.events import RentalChanged


def _nudge(user_ids: set[str], room: str) -> None:
    layer = get_channel_layer()
    assert layer is not None
    for user_id in user_ids:
        message = {"type": "nudge", "room": room}
        async_to_sync(layer.group_send)(room_of_user(user_id), message)


@on(RentalChanged)
def nudge_rental(event: RentalChanged) -> None:
    _nudge({event.renter_id, event.host_id}, f"rental:{event.rental_id}")


@on(NodeChanged)
def nudge_node(event: NodeChanged) -> None:
    owner_id = Node.objects.filter(pk=event.node_id).values_list("owner_id", flat=True).first()
    if owner_id is not None:
        _nudge({str(owner_id)}, "fleet")


@on(WalletChanged)
def nudge_wallet(event: WalletChanged) -> None:
    _nudge({event.owner_id}, "wallet")


@on(NoticesChanged)
def nudge_notices(event: NoticesChanged) -> None:
    _nudge({event.user_id}, "notices")
