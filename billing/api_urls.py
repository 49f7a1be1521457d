from django.urls import path

from billing.api import payouts, refunds, topups, wallets
from billing.papers import api as papers

urlpatterns = [
    path("wallet/", wallets.WalletView.as_view(), name="api_wallet"),
    path("wallets/", wallets.WalletListView.as_view(), name="api_wallets"),
    path("wallet/statement/", wallets.StatementView.as_view(), name="api_statement"),
    path(
        "wallet/movements/<int:transfer_id>/", wallets.MovementView.as_view(), name="api_movement"
    ),
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
    path("deposits/", wallets.DepositListView.as_view(), name="api_deposits"),
    path("deposits/<uuid:deposit_id>/", wallets.DepositView.as_view(), name="api_deposit"),
    path("earnings/", wallets.EarningsView.as_view(), name="api_earnings"),
    path("earnings/days/", wallets.EarningsByDayView.as_view(), name="api_earnings_by_day"),
    path("wallet/top-up/", topups.TopUpView.as_view(), name="api_top_up"),
    path("fees/", wallets.FeesView.as_view(), name="api_fees"),
    path("payouts/", payouts.PayoutListView.as_view(), name="api_payouts"),
    path("payouts/<uuid:payout_id>/", payouts.PayoutView.as_view(), name="api_payout"),
    path(
        "payouts/<uuid:payout_id>/cancel/",
        payouts.CancelPayoutView.as_view(),
        name="api_payout_cancel",
    ),
    path("wallet/refunds/", refunds.RefundListView.as_view(), name="api_refunds"),
    path("staff/refunds/", refunds.StaffRefundView.as_view(), name="api_staff_refunds"),
    path("staff/adjustments/", refunds.StaffAdjustmentView.as_view(), name="api_adjustments"),
    path(
        "staff/deposits/<uuid:deposit_id>/returns/",
        refunds.StaffReturnView.as_view(),
        name="api_staff_returns",
    ),
    path("staff/payouts/", payouts.StaffPayoutListView.as_view(), name="api_staff_payouts"),
    path(
        "staff/payouts/<uuid:payout_id>/<slug:decision>/",
        payouts.DecidePayoutView.as_view(),
        name="api_staff_payout",
    ),
]
