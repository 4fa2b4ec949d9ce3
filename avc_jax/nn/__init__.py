"""Flax parts that several systems share."""
