"""Clips decoded once and kept as records: made by avc_jax.prepare, read by config.data.source=records."""
