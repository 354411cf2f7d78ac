"""The core: modules, the loop, the archive and the seams. Knows JAX and NumPy only."""
