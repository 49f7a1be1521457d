"""What may be done with machines. One module a noun; doors and upper apps import from here only."""

from nodes.services.capacity import allocate, release_allocation
from nodes.services.images import Fetching, fetching
from nodes.services.joining import (
    authenticate_node_key,
    create_node_key,
    join_node,
    revoke_node_key,
)
from nodes.services.listing import drain_node, refresh_offer
from nodes.services.ports import (
    free_ports,
    lease_ports,
    reconcile_ports,
    register_proxy_server,
    release_ports,
)
from nodes.services.pricing import (
    MOST_AT_ONCE,
    Prices,
    rate_column,
    set_prices,
    set_prices_of_many,
)
from nodes.services.rating import note_prices, rate_reliability
from nodes.services.sessions import (
    close_session,
    open_session,
    record_beats,
    sweep_liveness,
)
from nodes.services.smart import (
    Preview,
    preview_smart_price,
    set_smart_price,
    step_smart_prices,
    wishes_from,
)
from nodes.services.telling import tell_host, tell_of_listing
from nodes.services.tunnels import admit_login, admit_proxy, tunnel_settings
from nodes.services.watching import (
    note_settled,
    note_tunnels,
    tunnels_back,
    tunnels_down,
    unsettled_outages,
)
from nodes.services.workloads import (
    checkpoint_workload,
    create_workload,
    forget_logs,
    has_restarted,
    last_words,
    lock_workload,
    record_ack,
    record_observed,
    renew_workload,
    restart_workload,
    revise_keys,
    warn_of_logs,
    wish_workload,
)

__all__ = [
    "MOST_AT_ONCE",
    "Fetching",
    "Preview",
    "Prices",
    "admit_login",
    "admit_proxy",
    "allocate",
    "authenticate_node_key",
    "checkpoint_workload",
    "close_session",
    "create_node_key",
    "create_workload",
    "drain_node",
    "fetching",
    "forget_logs",
    "free_ports",
    "has_restarted",
    "join_node",
    "last_words",
    "lease_ports",
    "lock_workload",
    "note_prices",
    "note_settled",
    "note_tunnels",
    "open_session",
    "preview_smart_price",
    "rate_column",
    "rate_reliability",
    "reconcile_ports",
    "record_ack",
    "record_beats",
    "record_observed",
    "refresh_offer",
    "register_proxy_server",
    "release_allocation",
    "release_ports",
    "renew_workload",
    "restart_workload",
    "revise_keys",
    "revoke_node_key",
    "set_prices",
    "set_prices_of_many",
    "set_smart_price",
    "step_smart_prices",
    "sweep_liveness",
    "tell_host",
    "tell_of_listing",
    "tunnel_settings",
    "tunnels_back",
    "tunnels_down",
    "unsettled_outages",
    "warn_of_logs",
    "wish_workload",
    "wishes_from",
]
