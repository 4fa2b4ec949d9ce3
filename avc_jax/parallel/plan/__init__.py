"""What a config would need and take on accelerators that are not here: the step, compiled ahead of time, and arithmetic."""
