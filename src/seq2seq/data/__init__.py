"""Text to batches, in NumPy: no JAX is imported here."""
