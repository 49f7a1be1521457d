from django.urls import path

from nodes import views

urlpatterns = [
    path("fleet/", views.fleet, name="fleet"),
    path("fleet/prices/", views.fleet_prices, name="fleet_prices"),
    path("fleet/fragment/", views.fleet_fragment, name="fleet_fragment"),
    path("fleet/<uuid:node_id>/", views.machine, name="machine"),
    path("fleet/<uuid:node_id>/smart-price/", views.smart_price, name="smart_price"),
    path("fleet/<uuid:node_id>/drain/", views.machine_drain, name="machine_drain"),
    path("fleet/keys/<uuid:key_id>/revoke/", views.node_key_revoke, name="node_key_revoke"),
]
