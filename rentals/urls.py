from django.urls import path

from rentals import template_views, views

urlpatterns = [
    path("templates/", template_views.templates, name="templates"),
    path("templates/new/", template_views.template_new, name="template_new"),
    path("templates/<uuid:template_id>/", template_views.template, name="template"),
    path("templates/<uuid:template_id>/edit/", template_views.template_edit, name="template_edit"),
    path(
        "templates/<uuid:template_id>/versions/<int:number>/file/",
        template_views.template_file,
        name="template_file",
    ),
    path(
        "templates/<uuid:template_id>/<slug:action>/",
        template_views.template_action,
        name="template_action",
    ),
    path("quotes/<uuid:quote_id>/", views.quote, name="quote"),
    path("quotes/<uuid:quote_id>/preflight/", views.quote_preflight, name="quote_preflight"),
    path("rentals/", views.rentals, name="rentals"),
    path("rentals/<uuid:rental_id>/", views.rental, name="rental"),
    path("rentals/<uuid:rental_id>/fragment/", views.rental_fragment, name="rental_fragment"),
    path("rentals/<uuid:rental_id>/bill/", views.rental_bill, name="rental_bill"),
    path("rentals/<uuid:rental_id>/keys/", views.rental_keys, name="rental_keys"),
    path("rentals/<uuid:rental_id>/limits/", views.rental_limits, name="rental_limits"),
    path("rentals/<uuid:rental_id>/checkpoint/", views.rental_checkpoint, name="rental_checkpoint"),
    path("rentals/<uuid:rental_id>/extend/", views.rental_extend, name="rental_extend"),
    path("rentals/<uuid:rental_id>/price/", views.rental_price, name="rental_price"),
    path("rentals/<uuid:rental_id>/raise/", views.rental_raise, name="rental_raise"),
    path("rentals/<uuid:rental_id>/<slug:action>/", views.rental_action, name="rental_action"),
]
