from django.urls import path

from billing import api
from billing.papers import api as papers

urlpatterns = [
    path("wallet/", api.WalletView.as_view(), name="api_wallet"),
    path("wallets/", api.WalletListView.as_view(), name="api_wallets"),
    path("wallet/statement/", api.StatementView.as_view(), name="api_statement"),
    path("wallet/movements/<int:transfer_id>/", api.MovementView.as_view(), name="api_movement"),
    path("statements/", papers.StatementListView.as_view(), name="api_statements"),
    path(
        "statements/<str:month>/", papers.StatementMonthView.as_view(), name="api_statement_month"
    ),
    path("invoices/", papers.InvoiceListView.as_view(), name="api_invoices"),
    path("invoices/<uuid:invoice_id>/", papers.InvoiceView.as_view(), name="api_invoice"),
    path(
        "invoices/<uuid:invoice_id>/pdf/", papers.InvoicePdfView.as_view(), name="api_invoice_pdf"
    ),
    path("billing-details/", papers.DetailsView.as_view(), name="api_billing_details"),
    path("deposits/", api.DepositListView.as_view(), name="api_deposits"),
    path("deposits/<uuid:deposit_id>/", api.DepositView.as_view(), name="api_deposit"),
    path("earnings/", api.EarningsView.as_view(), name="api_earnings"),
    path("earnings/days/", api.EarningsByDayView.as_view(), name="api_earnings_by_day"),
]
