"""Benchmarks: each prints ours beside a floor of the same run, one JSON object a line."""
