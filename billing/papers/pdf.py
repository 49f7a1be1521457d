"""Invoices as PDF, by WeasyPrint. Nothing is fetched: what somebody typed into a name stays text."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

from django.core.cache import cache
from django.http import HttpResponse
from django.template.loader import render_to_string

from billing.models import Invoice
from core.errors import Unavailable

KEPT_SECONDS = 3600


def pdf_answer(invoice: Invoice) -> HttpResponse:
    """Return an invoice as a file to save. Raises Unavailable `pdf_unavailable`."""
    # Issued once, the same for ever: whoever asks again gets the same bytes.
    body = cache.get_or_set(
        f"invoice-pdf-{invoice.sha256}", lambda: pdf_of(invoice.data), timeout=KEPT_SECONDS
    )
    answer = HttpResponse(body, content_type="application/pdf")
    answer["Content-Disposition"] = f'attachment; filename="{invoice.number}.pdf"'
    return answer


def pdf_of(data: dict[str, Any]) -> bytes:
    """Return what an issued invoice says as PDF. Raises Unavailable `pdf_unavailable`."""
    html = render_to_string("billing/invoice_pdf.html", {"data": data})
    document = _library().HTML(string=html, url_fetcher=nothing())
    # Tagged and with its language: readers that speak can read it.
    return bytes(document.write_pdf(pdf_variant="pdf/ua-1"))


def nothing() -> Any:
    """Return what fetches nothing: an invoice is whole, and no text in it may reach into our network."""
    return _library().URLFetcher(allowed_protocols=())


@functools.cache
def _library() -> ModuleType:
    """Return WeasyPrint. It is loaded with the first PDF: it takes a second, and needs Pango of the system."""
    try:
        return importlib.import_module("weasyprint")
    except OSError as error:
        raise Unavailable(
            "pdf_unavailable",
            "This installation cannot write PDF: its system lacks Pango (Debian: libpango-1.0-0 and "
            "libpangoft2-1.0-0). The same invoice is a page that prints.",
        ) from error
