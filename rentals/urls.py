from django.urls import path

from rentals import views

urlpatterns = [
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
    path("rentals/<uuid:rental_id>/<slug:action>/", views.rental_action, name="rental_action"),
]
