from django.urls import path

from billing import views
from billing.papers import views as papers

urlpatterns = [
    path("wallet/", views.wallet, name="wallet"),
    path("wallet/top-up/", views.top_up, name="top_up"),
    path("wallet/movements/<int:transfer_id>/", views.movement, name="movement"),
    path("deposits/<uuid:deposit_id>/", views.deposit, name="deposit"),
    path("deposits/<uuid:deposit_id>/fake/", views.fake_checkout, name="fake_checkout"),
    path("statements/", papers.statements, name="statements"),
    path("statements/<str:month>/", papers.statement, name="statement"),
    path("invoices/", papers.invoices, name="invoices"),
    path("invoices/<uuid:invoice_id>/", papers.invoice, name="invoice"),
    path("invoices/<uuid:invoice_id>/pdf/", papers.invoice_pdf, name="invoice_pdf"),
    path("webhooks/<slug:name>/", views.webhook, name="webhook"),
    path("payouts/<uuid:payout_id>/cancel/", views.cancel_payout, name="cancel_payout"),
]
