"""Training: a pure update, a loop that yields events, checkpoints and listeners."""
