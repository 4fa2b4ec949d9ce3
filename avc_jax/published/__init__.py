"""Checkpoints that others have published: their files, their names, and our variables."""
