from django.urls import path

from rentals import api, services, template_api

urlpatterns = [
    path("templates/", template_api.TemplateListView.as_view(), name="api_templates"),
    path(
        "templates/<uuid:template_id>/",
        template_api.TemplateView.as_view(),
        name="api_template",
    ),
    path(
        "templates/<uuid:template_id>/versions/",
        template_api.TemplateVersionListView.as_view(),
        name="api_template_versions",
    ),
    path(
        "templates/<uuid:template_id>/versions/<int:number>/",
        template_api.TemplateVersionView.as_view(),
        name="api_template_version",
    ),
    path(
        "templates/<uuid:template_id>/publish/",
        template_api.TemplatePublicView.as_view(public=True),
        name="api_template_publish",
    ),
    path(
        "templates/<uuid:template_id>/unpublish/",
        template_api.TemplatePublicView.as_view(public=False),
        name="api_template_unpublish",
    ),
    path(
        "templates/<uuid:template_id>/archive/",
        template_api.TemplateArchiveView.as_view(),
        name="api_template_archive",
    ),
    path(
        "offers/<uuid:offer_id>/preflight/",
        api.PreflightView.as_view(),
        name="api_offer_preflight",
    ),
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
        "rentals/<uuid:rental_id>/price/",
        api.RentalPriceView.as_view(),
        name="api_rental_price",
    ),
    path(
        "rentals/<uuid:rental_id>/price/raise/",
        api.RentalRaiseView.as_view(),
        name="api_rental_raise",
    ),
    path(
        "rentals/<uuid:rental_id>/limits/",
        api.RentalLimitsView.as_view(),
        name="api_rental_limits",
    ),
    path(
        "rentals/<uuid:rental_id>/extend/",
        api.RentalExtendView.as_view(),
        name="api_rental_extend",
    ),
    path(
        "rentals/<uuid:rental_id>/checkpoint/",
        api.RentalCheckpointView.as_view(),
        name="api_rental_checkpoint",
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
