"""The search of offers: one query, one answer, behind page, API and whatever comes next."""
