"""The one train loop: state, optimizer, step (pure); checkpoint, guard, writers, progress and loop (the shell)."""
