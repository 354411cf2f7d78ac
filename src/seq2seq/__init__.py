"""seq2seq: the encoder-decoder RNN on JAX."""
