"""Whole forward passes of the papers' models in NumPy float64, for one sentence pair without padding."""

from __future__ import annotations

import numpy as np
from nn import reference


def affine(layer, x):
    return x @ np.asarray(layer.w, np.float64) + np.asarray(layer.b, np.float64)


def embed(layer, ids):
    return layer.scale * np.asarray(layer.table, np.float64)[ids]


def maxout(layer, x):
    pairs = affine(layer, x)
    return np.maximum(pairs[0::2], pairs[1::2])


def cho(model, source, target_in):
    """Cho et al. 2014, A.1: c = tanh(V h_N); h'_0 = tanh(V' c); h'_t = f(h'_{t-1}, y_{t-1}, c); maxout of all."""
    encoder, decoder = model.encoder, model.decoder
    h, _ = reference.run(encoder.layers[0], embed(encoder.embedding, source))
    c = np.tanh(affine(encoder.summarise, h))
    h = np.tanh(affine(decoder.bridge.layers[0], c))
    for word in embed(decoder.embedding, target_in):
        h, _ = reference.cho_gru(decoder.cell, h, np.concatenate([word, c]))
        s = maxout(decoder.readout.inner, np.concatenate([h, c, word]))
        yield affine(decoder.readout.output, s @ np.asarray(decoder.readout.factor, np.float64)), None


def sutskever(model, source, target_in):
    """Sutskever et al. 2014: an LSTM reads the source from its end; a second one begins in the states it ends in."""
    encoder, decoder = model.encoder, model.decoder
    xs = embed(encoder.embedding, source)[::-1]
    state = []
    for layer in encoder.layers:
        last, xs = reference.run(layer, xs)
        state.append(last)
    for word in embed(decoder.embedding, target_in):
        state, y = reference.step(decoder.cell, state, word, 0)
        yield affine(decoder.readout.output, y), None


def both_directions(layer, xs):
    """[forward_j, backward_j] of each word j, and the last output of each direction."""
    _, forward = reference.run(layer.forward, xs)
    _, backward = reference.run(layer.backward, xs[::-1])
    backward = backward[::-1]
    return np.concatenate([forward, backward], -1), np.concatenate([forward[-1], backward[0]])


def bahdanau(model, source, target_in):
    """Bahdanau et al. 2015, appendix A: a_i from s_{i-1}; c_i; s_i = f(s_{i-1}, y_{i-1}, c_i); maxout of s, c and y."""
    encoder, decoder = model.encoder, model.decoder
    annotations, summary = both_directions(encoder.layers[0], embed(encoder.embedding, source))
    backward = summary[len(summary) // 2 :]  # A.2.2: s_0 = tanh(W_s <-h_1)
    s = np.tanh(affine(decoder.bridge.layers[0], backward))
    for word in embed(decoder.embedding, target_in):
        c, a = reference.attend(decoder.attention, s, annotations)
        s, _ = reference.cho_gru(decoder.cell, s, np.concatenate([word, c]))
        t = maxout(decoder.readout.inner, np.concatenate([s, c, word]))
        yield affine(decoder.readout.output, t), a


def luong(model, source, target_in):
    """Luong et al. 2015: an encoder that reads from the end; the decoder's layers begin in the states of its layers."""
    xs, state = embed(model.encoder.embedding, source)[::-1], []
    for layer in model.encoder.layers:
        last, xs = reference.run(layer, xs)
        state.append(last)
    yield from global_attention(model.decoder, xs[::-1], state, target_in)


def general(model, source, target_in):
    """As Luong et al. 2015, one layer that reads in both directions, whose last outputs enter through a layer each."""
    annotations, summary = both_directions(model.encoder.layers[0], embed(model.encoder.embedding, source))
    state = tuple(np.tanh(affine(layer, summary)) for layer in model.decoder.bridge.layers)
    yield from global_attention(model.decoder, annotations, state, target_in)


def defaults(model, source, target_in):
    """As Bahdanau et al. 2015, of LSTM layers; the readout is tanh(W [h, c])."""
    decoder = model.decoder
    annotations, summary = both_directions(model.encoder.layers[0], embed(model.encoder.embedding, source))
    state = tuple(np.tanh(affine(layer, summary)) for layer in decoder.bridge.layers)
    h = state[0]
    for word in embed(decoder.embedding, target_in):
        c, a = reference.attend(decoder.attention, h, annotations)
        state, h = reference.step(decoder.cell, state, np.concatenate([word, c]), 0)
        yield affine(decoder.readout.output, np.tanh(affine(decoder.readout.inner, np.concatenate([h, c])))), a


def global_attention(decoder, annotations, state, target_in):
    """3.1 and 3.3: h_t = f(h_{t-1}, [y_{t-1}, h~_{t-1}]); a_t; c_t; h~_t = tanh(W [c, h])."""
    fed = np.zeros(annotations.shape[1])
    for word in embed(decoder.embedding, target_in):
        state, h = reference.step(decoder.cell, state, np.concatenate([word, fed]), 0)
        c, a = reference.attend(decoder.attention, h, annotations)
        fed = np.tanh(affine(decoder.readout.inner, np.concatenate([h, c])))
        yield affine(decoder.readout.output, fed), a
