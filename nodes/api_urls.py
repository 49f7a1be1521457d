from django.urls import path

from nodes import api

urlpatterns = [
    path("nodes/", api.NodeListView.as_view(), name="api_nodes"),
    path("nodes/prices/", api.ManyPricesView.as_view(), name="api_nodes_prices"),
    path("nodes/<uuid:node_id>/", api.NodeView.as_view(), name="api_node"),
    path("nodes/<uuid:node_id>/rentals/", api.NodeRentalsView.as_view(), name="api_node_rentals"),
    path("nodes/<uuid:node_id>/metrics/", api.NodeMetricsView.as_view(), name="api_node_metrics"),
    path("nodes/<uuid:node_id>/prices/", api.NodePricesView.as_view(), name="api_node_prices"),
    path("nodes/<uuid:node_id>/smart-price/", api.SmartPriceView.as_view(), name="api_smart_price"),
    path(
        "nodes/<uuid:node_id>/smart-price/preview/",
        api.SmartPricePreviewView.as_view(),
        name="api_smart_price_preview",
    ),
    path("nodes/<uuid:node_id>/drain/", api.NodeDrainView.as_view(), name="api_node_drain"),
    path("nodes/<uuid:node_id>/heartbeat/", api.HeartbeatView.as_view(), name="api_heartbeat"),
    path("node-keys/", api.NodeKeyListView.as_view(), name="api_node_keys"),
    path("node-keys/<uuid:key_id>/", api.NodeKeyView.as_view(), name="api_node_key"),
    path("agent/join", api.JoinView.as_view(), name="api_agent_join"),
]
