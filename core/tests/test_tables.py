"""Tables for spreadsheets: figures that add up to the cent, and no cell that is run as a formula."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.money import NANO
from core.tables import cents, csv_text


@pytest.mark.parametrize("evil", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_what_would_begin_a_formula_is_text(evil: str) -> None:
    written = csv_text(["a"], [[evil]])
    assert written.removeprefix("a\r\n").lstrip('"').startswith("'")


def test_figures_texts_and_nothing_are_left_as_they_are() -> None:
    assert csv_text(["a", "b"], [["-0.10", None], [17, 'x "y"']]) == (
        'a,b\r\n-0.10,\r\n17,"x ""y"""\r\n'
    )


@given(st.lists(st.integers(-(10**15), 10**15), max_size=40))
def test_cents_add_up_to_the_rounded_sum_and_none_is_more_than_a_cent_off(
    amounts: list[int],
) -> None:
    shown = [Decimal(each) for each in cents(amounts)]
    [whole] = cents([sum(amounts)])
    assert sum(shown, Decimal(0)) == Decimal(whole)
    for figure, amount in zip(shown, amounts, strict=True):
        assert abs(figure - Decimal(amount) / NANO) <= Decimal("0.01")
