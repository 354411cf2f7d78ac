"""Search over any model with `start` and `step`: greedy, beam, sampling, scoring."""
