from django.urls import path

from rentals import api, services

urlpatterns = [
    path("templates/", api.TemplateListView.as_view(), name="api_templates"),
    path("quotes/", api.QuoteView.as_view(), name="api_quotes"),
    path("rentals/", api.RentalListView.as_view(), name="api_rentals"),
    path("rentals/<uuid:rental_id>/", api.RentalView.as_view(), name="api_rental"),
    path("rentals/<uuid:rental_id>/bill/", api.RentalBillView.as_view(), name="api_rental_bill"),
    path("rentals/<uuid:rental_id>/logs/", api.RentalLogsView.as_view(), name="api_rental_logs"),
    path(
        "rentals/<uuid:rental_id>/timeline/",
        api.RentalTimelineView.as_view(),
        name="api_rental_timeline",
    ),
    path("rentals/<uuid:rental_id>/keys/", api.RentalKeysView.as_view(), name="api_rental_keys"),
    path(
        "rentals/<uuid:rental_id>/limits/",
        api.RentalLimitsView.as_view(),
        name="api_rental_limits",
    ),
    path(
        "rentals/<uuid:rental_id>/stop/",
        api.RentalActionView.as_view(verb=services.stop_rental),
        name="api_rental_stop",
    ),
    path(
        "rentals/<uuid:rental_id>/start/",
        api.RentalActionView.as_view(verb=services.start_rental),
        name="api_rental_start",
    ),
    path(
        "rentals/<uuid:rental_id>/restart/",
        api.RentalActionView.as_view(verb=services.restart_rental),
        name="api_rental_restart",
    ),
    path(
        "rentals/<uuid:rental_id>/recreate/",
        api.RentalRecreateView.as_view(),
        name="api_rental_recreate",
    ),
    path(
        "rentals/<uuid:rental_id>/end/",
        api.RentalActionView.as_view(verb=services.end_rental),
        name="api_rental_end",
    ),
]
