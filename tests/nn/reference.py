"""The equations of the papers in NumPy float64, one row at a time, with a matrix of its own for each gate.

Nothing here looks at how seq2seq computes; the matrices are cut out of seq2seq's weights by the shapes that its
docstrings give. Vectors are rows, so a product is written `x @ w` as there.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def weights(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a module, by field, in float64."""
    return {name: np.asarray(value, np.float64) for name, value in vars(tree).items() if hasattr(value, "shape")}


def elman(cell, h, x):
    """Elman 1990: h_t = tanh(W x_t + U h_{t-1} + b)."""
    p = weights(cell)
    h = np.tanh(x @ p["w"] + h @ p["u"] + p["b"])
    return h, h


def cho_gru(cell, h, x):
    """Cho et al. 2014, equations 5 to 8: r and z, then the candidate of r * h, then the mixture."""
    p = weights(cell)
    n = len(h)
    w_r, w_z, w_n = p["w"][:, :n], p["w"][:, n : 2 * n], p["w"][:, 2 * n :]
    u_r, u_z = p["u"][:, :n], p["u"][:, n:]
    b_r, b_z, b_n = p["b"][:n], p["b"][n : 2 * n], p["b"][2 * n :]
    r = sigmoid(x @ w_r + h @ u_r + b_r)
    z = sigmoid(x @ w_z + h @ u_z + b_z)
    candidate = np.tanh(x @ w_n + (r * h) @ p["u_n"] + b_n)
    h = z * h + (1 - z) * candidate
    return h, h


def gru(cell, h, x):
    """cuDNN's CUDNN_GRU: r_t and i_t gates, h'_t = tanh(W x + r_t * (R h + b_R) + b_W), h_t = (1-i_t) h' + i_t h."""
    p = weights(cell)
    n = len(h)
    w = {gate: p["w"][:, i * n : (i + 1) * n] for i, gate in enumerate("rin")}
    r = {gate: p["u"][:, i * n : (i + 1) * n] for i, gate in enumerate("rin")}
    b = {gate: p["b"][i * n : (i + 1) * n] for i, gate in enumerate("rin")}
    reset = sigmoid(x @ w["r"] + h @ r["r"] + b["r"])
    update = sigmoid(x @ w["i"] + h @ r["i"] + b["i"])
    new = np.tanh(x @ w["n"] + reset * (h @ r["n"] + p["c"]) + b["n"])
    h = (1 - update) * new + update * h
    return h, h


def lstm(cell, state, x):
    """Gers et al. 2000: input, forget and output gates; c_t = f * c + i * g; h_t = o * tanh(c_t)."""
    p = weights(cell)
    h, c = state
    n = len(h)
    i, f, g, o = (
        x @ p["w"][:, k * n : (k + 1) * n] + h @ p["u"][:, k * n : (k + 1) * n] + p["b"][k * n : (k + 1) * n]
        for k in range(4)
    )
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


def norm(x, scale):
    """Ba et al. 2016, equation 4, without the shift."""
    return scale * (x - np.mean(x)) / np.sqrt(np.var(x) + 1e-5)


def norm_lstm(cell, state, x):
    """Ba et al. 2016, equations 20 to 22: LN of W_h h and of W_x x over all gates together, and of c_t."""
    p = weights(cell)
    h, c = state
    i, f, g, o = np.split(norm(h @ p["u"], p["s_h"]) + norm(x @ p["w"], p["s_x"]) + p["b"], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(norm(c, p["s_c"]) + p["b_c"])
    return (h, c), h


def norm_gru(cell, h, x):
    """Ba et al. 2016, supplement: LN of W_h h and W_x x of both gates, and of U h and W x of the candidate."""
    p = weights(cell)
    n = len(h)
    gates = [norm(v @ m[:, : 2 * n], s[: 2 * n]) for v, m, s in ((h, p["u"], p["s_h"]), (x, p["w"], p["s_x"]))]
    r, z = np.split(sigmoid(sum(gates) + p["b"][: 2 * n]), 2)
    candidate = np.tanh(
        norm(x @ p["w"][:, 2 * n :], p["s_x"][2 * n :])
        + p["b"][2 * n :]
        + r * (norm(h @ p["u"][:, 2 * n :], p["s_h"][2 * n :]) + p["c"])
    )
    h = (1 - z) * candidate + z * h
    return h, h


STEPS = {"Elman": elman, "GRU": gru, "ChoGRU": cho_gru, "LSTM": lstm, "NormGRU": norm_gru, "NormLSTM": norm_lstm}


def zero_state(cell):
    n = len(cell.u)
    return (np.zeros(n), np.zeros(n)) if type(cell).__name__.endswith("LSTM") else np.zeros(n)


def begin(cell, row: int):
    """The initial state of `cell` for a row, with the masks of that row in mind."""
    match type(cell).__name__:
        case "Stack":
            return [begin(part, row) for part in cell.cells]
        case "Dropped":
            return begin(cell.cell, row)
        case _:
            return zero_state(cell)


def step(cell, state, x, row: int):
    """One step of any cell, Stack and Dropped included."""
    match type(cell).__name__:
        case "Stack":
            states = []
            for k, (part, before) in enumerate(zip(cell.cells, state, strict=True)):
                after, y = step(part, before, x, row)
                states.append(after)
                x = x + y if cell.residual and k >= 1 else y
            return states, x
        case "Dropped":
            if cell.hidden_mask is not None:
                state = state * np.asarray(cell.hidden_mask, np.float64)[row]
            return step(cell.cell, state, x * np.asarray(cell.input_mask, np.float64)[row], row)
        case name:
            return STEPS[name](cell, state, x)


def run(cell, xs: np.ndarray, row: int = 0):
    """The outputs for one row, (time, hidden), from xs (time, input)."""
    state, ys = begin(cell, row), []
    for x in np.asarray(xs, np.float64):
        state, y = step(cell, state, x, row)
        ys.append(y)
    return state, np.array(ys)


def softmax(scores):
    e = np.exp(scores - scores.max())
    return e / e.sum()


def additive_score(attention, query, annotation):
    """Bahdanau et al. 2015, A.1.2: v . tanh(W s + U h), with a bias b inside as seq2seq has it."""
    p = weights(attention)
    return np.tanh(query @ p["w"] + annotation @ p["u"] + p["b"]) @ p["v"]


def dot_score(_, query, annotation):
    """Luong et al. 2015, equation 8, dot: h_t . h_s."""
    return query @ annotation


def general_score(attention, query, annotation):
    """Luong et al. 2015, equation 8, general: h_t . W h_s, W a matrix (query, annotation)."""
    return query @ (weights(attention)["w"].T @ annotation)


SCORES = {"Additive": additive_score, "Dot": dot_score, "General": general_score}


def attend(attention, query, annotations):
    """Context and weights of one row whose annotations, (tokens, annotation), hold no padding."""
    score = SCORES[type(attention).__name__]
    a = softmax(np.array([score(attention, query, h) for h in annotations]))
    return sum(weight * h for weight, h in zip(a, annotations, strict=True)), a


def cross_entropy(logits, target, smoothing=0.0):
    """- sum_k q(k) log p(k) with q(k) = (1 - e) [k = target] + e / K (Szegedy et al. 2016, section 7)."""
    q = np.full(len(logits), smoothing / len(logits))
    q[target] += 1 - smoothing
    return -(q * np.log(softmax(np.asarray(logits, np.float64)))).sum()
