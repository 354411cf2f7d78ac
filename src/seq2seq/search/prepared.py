"""A model made ready to be searched: its products looked up or in fewer bits; a search takes it as any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr

from seq2seq.core.module import as_node
from seq2seq.core.precision import Precision, bfloat16_products, resolve
from seq2seq.core.rewriting import Parts, Products, part, rewrite, run_once, run_rest
from seq2seq.core.seams import Memory, Prediction, Searchable, State
from seq2seq.core.tables import TableRule, tabled


class _How(NamedTuple):
    """How a step is rewritten."""

    tables: TableRule
    products: Products


@partial(as_node, leaves=("model", "ready"), statics=("how", "recipe"))
@dataclass(frozen=True)
class PreparedModel:
    """A `Searchable` that computes what depends on the model's leaves alone once, not at each step.

    A product of a row that `step` looks up and of a weight becomes a row of a table (Devlin 2017, section 3.2):

        table[ids] @ w = (table @ w)[ids]

    where `TableRule` allows it; so the embedding of the last token costs no product. This changes results by no more
    than rounding.

    With int8, each other product in `step` of what changes (an activation) with what depends on the leaves alone (a
    weight, perhaps transposed) is computed in 8 bits (Devlin 2017 took 16; Jacob et al. 2018, equation 1, with Z = 0):

        s[m] = max over k of |x[m, k]| * (1 / 127)    x8[m, k] = round(x[m, k] / s[m])    for each row, as it comes
        t[n] = max over k of |w[k, n]| * (1 / 127)    w8[k, n] = round(w[k, n] / t[n])    for each column, once
        y[m, n] = (sum over k of x8[m, k] * w8[k, n]) * s[m] * t[n]    the sum in int32; round is to nearest, or even

    A factor is then off by at most half a scale. Products of activations (attention) and `start` are not quantised.
    With bfloat16, all other products, those of `start` and of tables too, are computed as `bfloat16_products` does.
    Tables and everything else are float32.

    Make it with `PreparedModel.of`, which makes weights and tables ready: no search does so again.

    Example:
        >>> from seq2seq.core.module import module
        >>> @module
        ... class Chain:  # the next token depends on the last one alone
        ...     rows: Array
        ...     w: Array
        ...     def start(self, source, lengths):
        ...         return (), jnp.zeros_like(lengths)
        ...     def step(self, memory, state, token):
        ...         return state, Prediction(self.rows[token] @ self.w)
        >>> chain = PreparedModel.of(Chain(rows=jnp.ones((9, 2)), w=jnp.array([[0.1, 0.2, 0.3, 0.4]] * 2)))
        >>> [table.shape for table in chain.ready]
        [(9, 4)]
        >>> logits = chain.step((), jnp.zeros(1, int), jnp.array([2]))[1].logits
        >>> bool(jnp.allclose(logits, 2 * chain.model.w[0], atol=1e-6))
        True
    """

    model: Any
    ready: tuple[Array, ...]
    how: _How
    recipe: str = field(repr=False)

    @classmethod
    def of(cls, model: Searchable, precision: Precision = "float32", int8: bool = False, tokens: float = 0) -> Self:
        """`model` with its weights and tables made ready.

        Args:
            model: anything with `start` and `step`.
            precision: what products are computed in.
            int8: whether products with weights are in 8 bits.
            tokens: target tokens that it is expected to read, each place of a beam counted. A table of a large
                vocabulary is made only if this is larger still; a small one always.
        """
        how = _How(TableRule(), Products(bfloat16=resolve(precision) == "bfloat16", int8=int8))
        leaves, structure = jax.tree.flatten(model)
        plan = _planned(structure, tuple(map(jax.typeof, leaves)), how, tokens)
        return cls(model, tuple(plan.ready(leaves)) if plan.any else (), plan.how, plan.recipe)

    def start(self, source: Array, lengths: Array) -> tuple[Memory, State]:
        """Read the sources."""
        if not self.how.products.bfloat16:
            return self.model.start(source, lengths)
        return bfloat16_products(lambda model, *rows: model.start(*rows))(self.model, source, lengths)

    def step(self, memory: Memory, state: State, token: Array) -> tuple[State, Prediction]:
        """Read one target token of each sentence and predict the next."""
        step = _Step.traced(self.how, self.model, memory, state, token)
        leaves = jax.tree.leaves(self.model)
        # A step that is written otherwise for a batch than for one row finds its weights here.
        ready = self.ready if step.recipe() == self.recipe else step.ready(leaves)
        return step(leaves, ready, jax.tree.leaves((memory, state, token)))


class _Plan(NamedTuple):
    """How the step of models of one structure is written, and what makes their weights ready, if there are any."""

    how: _How
    ready: Callable[[list[Array]], list[Array]]
    any: bool
    recipe: str


@lru_cache(maxsize=32)  # a model is made ready for each evaluation of its training
def _planned(structure: Any, leaves: tuple[Any, ...], how: _How, tokens: float) -> _Plan:
    model = jax.tree.unflatten(
        structure, [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in leaves]
    )
    # One source, no longer than any is padded to: what depends on weights alone depends on no shape of a batch.
    source, row = jax.ShapeDtypeStruct((16, 1), jnp.int32), jax.ShapeDtypeStruct((1,), jnp.int32)
    memory, state = jax.eval_shape(lambda model, *rows: model.start(*rows), model, source, row)
    inputs = model, memory, state, row
    step = _Step.traced(how, *inputs)
    if tokens:  # the same step is one that need not be compiled again
        for_many = how._replace(tables=TableRule(rows=tokens))
        with_all = _Step.traced(for_many, *inputs)
        if with_all.recipe() != step.recipe():
            how, step = for_many, with_all
    return _Plan(how, jax.jit(step.ready), bool(step.parts.ready), step.recipe())


@jax.jit  # which remembers what it traced, for the next one who asks
def _plain_step(model: Any, *inputs: Any) -> Any:
    return model.step(*inputs)


class _Step(NamedTuple):
    """A traced and rewritten step, parted in what depends on the model alone and the rest."""

    closed: ClosedJaxpr
    parts: Parts
    leaves: int
    result: Any

    @classmethod
    def traced(cls, how: _How, model: Any, *inputs: Any) -> Self:
        closed, result = jax.make_jaxpr(_plain_step, return_shape=True)(model, *inputs)
        leaves = len(jax.tree.leaves(model))
        weights = [index < leaves for index in range(len(closed.jaxpr.invars))]
        closed = tabled(closed, weights, how.tables)
        if how.products != Products():
            closed = rewrite(closed, weights, how.products)
        return cls(closed, part(closed, closed.jaxpr.invars[:leaves]), leaves, jax.tree.structure(result))

    def ready(self, leaves: list[Any]) -> list[Array]:
        """The operands that depend on the model alone."""
        return run_once(self.closed, self.parts, dict(zip(self.closed.jaxpr.invars, leaves, strict=False)))

    def recipe(self) -> str:
        """How `ready` makes them, as a text: the same for the same model, whatever the batch."""
        avals: list[Any] = [v.aval for v in self.closed.jaxpr.invars[: self.leaves]]
        return str(jax.make_jaxpr(self.ready)([jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]))

    def __call__(self, leaves: list[Any], ready: Any, values: list[Any]) -> Any:
        """What the step returns."""
        known = dict(zip(self.closed.jaxpr.invars, leaves, strict=False))
        known |= dict(zip(self.parts.ready, ready, strict=True))
        return jax.tree.unflatten(self.result, run_rest(self.closed, self.parts, known, values))
