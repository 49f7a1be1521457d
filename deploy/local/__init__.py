"""The whole platform on one machine: what `./run` does. Imports nothing of the product."""
