"""Scans of every kind, as functions of the scan to use and of their parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array, lax
from jax import numpy as jnp

from seq2seq.core.scan import scan

STEPS, BATCH, INPUT, HIDDEN = 3, 3, 2, 5
Tree = Any
Scan = Callable[..., Any]


def python_loop(f: Any, init: Tree, xs: Tree = None, length: int | None = None, reverse: bool = False, unroll: int = 1):
    steps = length if xs is None else len(jax.tree.leaves(xs)[0])
    carry, ys = init, [None] * (steps or 0)
    for t in reversed(range(len(ys))) if reverse else range(len(ys)):
        carry, ys[t] = f(carry, jax.tree.map(lambda x: x[t], xs))  # noqa: B023
    return carry, jax.tree.map(lambda *y: jnp.stack(y), *ys)


def parameters() -> dict[str, Array]:
    shapes = {
        "x": (STEPS, BATCH, INPUT), "h": (BATCH, HIDDEN), "w": (INPUT, HIDDEN), "w3": (INPUT, 3 * HIDDEN),
        "w4": (INPUT, 4 * HIDDEN), "u": (HIDDEN, HIDDEN), "u3": (HIDDEN, 3 * HIDDEN), "u4": (HIDDEN, 4 * HIDDEN),
        "b": (HIDDEN,), "b3": (3 * HIDDEN,), "v": (HIDDEN, 7), "table": (6, HIDDEN),
    }  # fmt: skip
    keys = jax.random.split(jax.random.key(1), len(shapes))
    return {n: 0.7 * jax.random.normal(k, s) for k, (n, s) in zip(keys, shapes.items(), strict=True)}


P = parameters()
IDS = jnp.array([[0, 5, 2], [1, 1, 4], [3, 0, 5]])
MASK = jnp.array([[True], [False], [True]])
KEY = jax.random.key(7)


def elman(p: Tree) -> Any:
    def step(h: Array, x: Array):
        h = jnp.tanh(x @ p["w"] + h @ p["u"] + p["b"])
        return h, h

    return step


def gru(p: Tree) -> Any:
    def step(h: Array, x: Array):
        xr, xz, xn = jnp.split(x @ p["w3"] + p["b3"], 3, -1)
        hr, hz, hn = jnp.split(h @ p["u3"], 3, -1)
        r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
        h = (1 - z) * jnp.tanh(xn + r * hn) + z * h
        return h, h

    return step


def cho_gru(p: Tree) -> Any:
    def step(h: Array, x: Array):
        xr, xz, xn = jnp.split(x @ p["w3"], 3, -1)
        u = p["u3"]
        gates = jax.nn.sigmoid(jnp.concatenate([xr, xz], -1) + h @ u[:, : 2 * HIDDEN] + p["b3"][: 2 * HIDDEN])
        r, z = gates[:, :HIDDEN], gates[:, HIDDEN:]
        h = z * h + (1 - z) * jnp.tanh(xn + (r * h) @ u[:, 2 * HIDDEN :])
        return h, h

    return step


def lstm(p: Tree) -> Any:
    def step(state: tuple[Array, Array], x: Array):
        h, c = state
        i, f, g, o = jnp.split(x @ p["w4"] + h @ p["u4"], 4, -1)
        c = jax.nn.sigmoid(f + 1) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return step


def side_by_side(p: Tree) -> Any:
    """One matrix for input, bias and state, and a product with the weight on the left."""
    w = jnp.concatenate([p["w4"], p["u4"][:1], p["u4"]])

    def step(state: tuple[Array, Array], x: Array):
        h, c = state
        ones = jnp.ones((BATCH, 1))
        i, f, g, o = jnp.split(jnp.concatenate([x, ones, h], -1) @ w, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        rows = jnp.concatenate([h[:1], (x @ p["w"])[:2]])
        h = jax.nn.sigmoid(o) * jnp.tanh(c) + jnp.tanh(p["u"][:, :3] @ rows)[:BATCH]
        return (h, c), h

    return step


def with_readout(p: Tree) -> Any:
    def step(h: Array, x: tuple[Array, Array]):
        h, y = gru(p)(h, x[0])
        scores = jax.nn.log_softmax(jax.nn.relu(y) @ p["v"])
        return h, (-jnp.take_along_axis(scores, x[1][:, None], -1)[:, 0], jnp.argmax(scores, -1))

    return step


def with_dropout(p: Tree) -> Any:
    def step(h: Array, x: tuple[Array, Array]):
        key, drawn = x[1], jax.random.bernoulli(jax.random.fold_in(x[1], 1), 0.5, (BATCH, HIDDEN))
        h, y = elman(p)(h, jnp.where(jax.random.bernoulli(key, 0.5, x[0].shape), x[0], 0))
        return h, jnp.where(drawn, y, 0) @ p["v"]

    return step


def counting(p: Tree) -> Any:
    def step(state: dict[str, Array], x: Array):
        mask = jax.random.bernoulli(jax.random.fold_in(KEY, state["count"]), 0.5, (BATCH, HIDDEN))
        h, _ = elman(p)(jnp.where(mask, state["h"], 0), x)
        return {"h": h, "count": state["count"] + 1}, {"y": h @ p["v"], "odd": state["count"] % 2}

    return step


def with_closures(p: Tree) -> Any:
    def step(h: Array, ids: Array):
        x = p["table"][ids] @ p["u"]
        h = jnp.where(MASK, jnp.tanh(x + h @ p["u"]), h) + p["table"][jnp.argmax(h, -1)]
        return h, (h, IDS[0] + ids, p["b"], 1.0)

    return step


def with_cond(p: Tree) -> Any:
    def step(h: Array, x: Array):
        h = lax.cond(x.sum() > 0, lambda h: jnp.tanh(h @ p["u"]), lambda h: h * 0.5, h)
        return elman(p)(h, x)[0], lax.cond(h.sum() > 0, lambda y: y @ p["v"], lambda y: (y @ p["v"]) * 2, h)

    return step


def shared(p: Tree) -> Any:
    def step(h: Array, x: Array):
        u = p["u"]
        h = jnp.tanh(
            h @ u + (h @ u.T) * 0.3 + x @ p["w"] + jnp.einsum("ij,bj->bi", u[1:4, :], h).sum(-1, keepdims=True)
        )
        return h, (u @ h.T, h[:, :2] @ u[:2], (u * u) @ jnp.sin(h).T)

    return step


def pieces(p: Tree) -> Any:
    def step(h: Array, x: Array):
        a = x @ p["w3"]
        b = h @ p["u3"]
        h = jnp.tanh(a[:, :HIDDEN] + b[:, 2 : HIDDEN + 2] + (a + b).reshape(BATCH, 3, HIDDEN).sum(1))
        return h, a[:, 3:6] + b[:, 3:6]

    return step


def doubled(p: Tree) -> Any:
    def step(h: Array, x: Array):
        a = x @ p["w"]
        h = jnp.tanh((a + a) + h @ p["u"])
        return h, ()

    return step


@dataclass(frozen=True)
class Problem:
    """A scan as a function of the scan to use and of the parameters."""

    step: Any
    init: Any = lambda p: p["h"]
    xs: Any = lambda p: p["x"]
    options: tuple[tuple[str, Any], ...] = ()

    def run(self, scanned: Scan, p: Tree) -> Tree:
        return scanned(self.step(p), self.init(p), self.xs(p), **dict(self.options))

    def loss(self, scanned: Scan, p: Tree) -> Array:
        return self.loss_and_outputs(scanned, p)[0]

    def loss_and_outputs(self, scanned: Scan, p: Tree) -> tuple[Array, Tree]:
        """A loss in which no two numbers of an output count alike, so that none may stand in another's place."""
        found = self.run(scanned, p)
        floats = [y for y in jax.tree.leaves(found) if jnp.issubdtype(y.dtype, jnp.floating)]
        weights = [np.random.default_rng(i).uniform(0.5, 1.5, y.shape).astype(np.float32) for i, y in enumerate(floats)]
        terms = (w * jnp.sin(y + i).astype(jnp.float32) for i, (w, y) in enumerate(zip(weights, floats, strict=True)))
        return sum((term.sum() for term in terms), jnp.zeros(())), found


def two(p: Tree) -> tuple[Array, Array]:
    return p["h"], p["h"] * 0.5


def keyed(p: Tree) -> tuple[Array, Array]:
    return p["x"], jax.random.split(jax.random.key(3), STEPS)


def nested(p: Tree) -> Any:
    return lambda h, x: scan(elman(p), h, jnp.stack([x, x * 2]))


def inner_lax(p: Tree) -> Any:
    return lambda h, x: (lax.scan(elman(p), h, jnp.stack([x, x * 2]))[0] @ p["u"], h @ p["v"])


def no_input(p: Tree) -> Any:
    return lambda h, _: (jnp.tanh(h @ p["u"] + p["b"]), h @ p["v"])


def low(p: Tree) -> Any:
    return gru(jax.tree.map(lambda a: a.astype(jnp.bfloat16), p))


PROBLEMS = {
    "elman": Problem(elman),
    "gru": Problem(gru),
    "cho_gru": Problem(cho_gru),
    "lstm": Problem(lstm, two),
    "side_by_side": Problem(side_by_side, two),
    "readout": Problem(with_readout, xs=lambda p: (p["x"], IDS)),
    "dropout": Problem(with_dropout, xs=keyed),
    "counting": Problem(counting, init=lambda p: {"h": p["h"], "count": 0}),
    "closures": Problem(with_closures, xs=lambda p: IDS),
    "cond": Problem(with_cond),
    "shared": Problem(shared),
    "pieces": Problem(pieces),
    "doubled": Problem(doubled),
    "checkpointed": Problem(lambda p: jax.checkpoint(gru(p))),
    "nested": Problem(nested),
    "inner_lax": Problem(inner_lax),
    "no_input": Problem(no_input, xs=lambda p: None, options=(("length", 3),)),
    "reverse": Problem(gru, options=(("reverse", True),)),
    "reverse_readout": Problem(with_readout, xs=lambda p: (p["x"], IDS), options=(("reverse", True),)),
    "unroll": Problem(lstm, two, options=(("unroll", 4),)),
    "bfloat16": Problem(low, lambda p: p["h"].astype(jnp.bfloat16), lambda p: p["x"].astype(jnp.bfloat16)),
}
