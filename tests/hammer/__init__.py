"""Writers of money that are killed at any moment, and what must be true afterwards: `python -m tests.hammer`."""
