"""Accuracy on data with published tables: `python -m benchmarks.accuracy TABLE --data FOLDER`."""
