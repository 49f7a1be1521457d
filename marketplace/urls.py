"""Every address of the site: pages, /api/v1/, the admin."""

from __future__ import annotations

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularSwaggerView

from billing.views import earnings
from marketplace import api, views
from nodes import queries

# The admin's own form would let passwords be guessed without a limit; staff sign in like everybody.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

handler404 = api.not_found
handler500 = api.server_error

api_v1: list[URLPattern | URLResolver] = [
    # What is asked most often is found first.
    path("offers/", api.OfferSearchView.as_view(), name="api_offers"),
    path("offers/<uuid:offer_id>/", api.OfferView.as_view(), name="api_offer"),
    path("market/prices/", api.MarketPricesView.as_view(), name="api_market_prices"),
    path("", include("accounts.api_urls")),
    path("", include("billing.api_urls")),
    path("", include("nodes.api_urls")),
    path("", include("rentals.api_urls")),
]

urlpatterns = [
    path("api/v1/", include(api_v1)),
    path("", views.landing, name="landing"),
    path("offers/<uuid:offer_id>/", views.offer, name="offer"),
    path("market/", views.market, name="market"),
    path("", include("accounts.urls")),
    # Money does not know machines; who looks at both tells it their names.
    path("earnings/", earnings, {"name_places": queries.machine_names}, name="earnings"),
    path("", include("billing.urls")),
    path("", include("nodes.urls")),
    path("", include("rentals.urls")),
    path("account/", include("allauth.account.urls")),
    path("admin/", admin.site.urls),
    path("api/health", api.HealthView.as_view(), name="health"),
    path("api/schema/", api.SchemaView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="api_docs"),
]
