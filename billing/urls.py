from django.urls import path

from billing import views

urlpatterns = [
    path("wallet/", views.wallet, name="wallet"),
    path("wallet/movements/<int:transfer_id>/", views.movement, name="movement"),
    path("deposits/<uuid:deposit_id>/", views.deposit, name="deposit"),
    path("deposits/<uuid:deposit_id>/fake/", views.fake_checkout, name="fake_checkout"),
    path("webhooks/<slug:name>/", views.webhook, name="webhook"),
    path("earnings/", views.earnings, name="earnings"),
]
