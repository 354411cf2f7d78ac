"""A row of a table times a weight, as a row of the table times the weight, which is computed once.

    table[ids] @ w = (table @ w)[ids]

(Devlin 2017, section 3.2, "pre-computed embeddings".) A decoder looks its last token up at every step and multiplies
what it finds by the weights of its cell. Both factors stay the same as long as one decodes, so that the product can be
a lookup itself: of a row of vocabulary x output numbers instead of vocabulary x embedding. Where the row lies beside
other things, the product is taken apart: [table[ids], h] @ w = (table @ w[:n])[ids] + h @ w[n:].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from seq2seq.core._dots import is_float32_product
from seq2seq.core._table_rows import Rows, looked_up, moved
from seq2seq.core.inlining import Evaluation
from seq2seq.core.jaxprs import Env, apply, read, variables

_BY_A_NUMBER: dict[str, Callable[[Any, Any], Any]] = {"mul": lax.mul, "div": lax.div}
"""What may be done to a row and a number without hiding the row."""


@dataclass(frozen=True)
class TableRule:
    """Which products become tables: those that are soon worth it, or cheap, and not too large.

    A table of V rows takes the products of V rows that come one by one, which take some six times as long as those of
    all at once (two cores, embedding 128, 2,048 columns: 70 and 10 us a row). To look a row up takes 2.5 us, also where
    the table has 98 MB and fits no cache: what limits its size is the memory.

    Attributes:
        rows: rows that are expected to be read; a table is made if it has no more.
        flops: the most that a table may cost if it has more rows, floating-point operations; 1e9 take 20 ms.
        bytes: the largest table in any case.
    """

    rows: float = 0
    flops: float = 1e9
    bytes: int = 256 << 20

    def allows(self, rows: int, width: int, columns: int) -> bool:
        """Whether a table (rows, columns) is made of one (rows, width).

        Example:
            >>> TableRule().allows(43, 128, 2048), TableRule().allows(12_000, 128, 2048)
            (True, False)
            >>> TableRule(rows=20_000).allows(12_000, 128, 2048)
            True
        """
        cheap = 2 * rows * width * columns <= self.flops
        return 4 * rows * columns <= self.bytes and (cheap or rows <= self.rows)


def tabled(closed: ClosedJaxpr, weights: Sequence[bool], rule: TableRule) -> ClosedJaxpr:
    """`closed`, inlined, with products of looked-up rows and weights as rows of tables; its loops stay as they are.

    Every table, and every part of a weight that was taken apart, comes out of a barrier, so that `rewriting.part`
    finds it.

    Args:
        closed: any program.
        weights: which of its inputs stay the same; tables are made of what depends on these alone.
        rule: which products become tables.

    Example:
        >>> def step(table, w, ids, h):
        ...     return jnp.concatenate([table[ids], h], axis=-1) @ w
        >>> shapes = [(9, 2), (5, 4), (3,), (3, 3)]
        >>> inputs = [jnp.ones(shape, int if len(shape) == 1 else float) for shape in shapes]
        >>> with_table = tabled(jax.make_jaxpr(step)(*inputs), [True, True, False, False], TableRule())
        >>> [e.outvars[0].aval.shape for e in with_table.eqns if e.primitive.name == "dot_general"]
        [(9, 4), (3, 4)]
    """
    avals: list[Any] = [v.aval for v in closed.jaxpr.invars]
    structs = [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=getattr(a, "weak_type", False)) for a in avals]
    return jax.make_jaxpr(lambda *values: _Tabling(rule).call(closed, values, weights)[0])(*structs)


class _Joined(NamedTuple):
    """A value that is several, side by side along `axis`."""

    parts: list[Any]
    axis: int


@dataclass(frozen=True)
class _Tabling(Evaluation[Env]):
    """The evaluation.

    Attributes:
        rule: which products become tables.
        known: what is known of a value by its id: rows, things side by side, or one number spread out. The value is
            kept too, so that no other gets its id.
    """

    rule: TableRule
    known: dict[int, tuple[Any, Rows | _Joined | Array]] = field(default_factory=dict)

    def enter(self, jaxpr: Jaxpr, env: Env) -> Env:
        return env

    def equation(self, equation: JaxprEqn, scope: Env, still: list[bool]) -> list[Any]:
        values = [read(a, scope) for a in equation.invars]
        if is_float32_product(equation) and still[0] != still[1]:
            product = self._product(equation, values, place=still.index(False))
            if product is not None:
                return [product]
        outputs = apply(equation, [scope[v] for v in variables(equation.invars)])
        found = self._found(equation, values, still, outputs)
        if found is not None:
            self.known[id(outputs[0])] = outputs[0], found
        return outputs

    def _is(self, value: Any) -> Any:
        return self.known.get(id(value), (None, None))[1]

    def _found(self, equation: JaxprEqn, values: list[Any], still: list[bool], outputs: list[Any]) -> Any:
        """What is known of the output of an equation that is not a product."""
        name, params = equation.primitive.name, equation.params
        if name == "gather":
            return looked_up(params, values, outputs[0]) if still == [True, False] else None
        if name == "concatenate":
            return _Joined(values, params["dimension"])
        rows = [self._is(value) for value in values]
        if name in _BY_A_NUMBER and len(values) == 2:
            return self._by_a_number(_BY_A_NUMBER[name], values, still)
        if name == "broadcast_in_dim" and still[0] and values[0].size == 1:
            return values[0]
        if len(values) != 1 or not isinstance(rows[0], Rows):
            return None
        return moved(name, params, rows[0], outputs[0].shape)

    def _by_a_number(self, f: Callable[[Any, Any], Any], values: list[Any], still: list[bool]) -> Rows | None:
        for place, value in enumerate(values):
            rows, number = self._is(value), values[1 - place]
            if not isinstance(rows, Rows) or not still[1 - place] or (f is lax.div and place == 1):
                continue
            number = number if number.size == 1 else self._is(number)
            if number is not None and not isinstance(number, (Rows, _Joined)):
                return rows._replace(table=f(rows.table, jnp.broadcast_to(number.reshape(()), rows.table.shape)))
        return None

    def _product(self, equation: JaxprEqn, values: list[Any], place: int) -> Array | None:
        """The product of the changing operand at `place` with a weight, where it has rows of a table in it."""
        contracted, batch = equation.params["dimension_numbers"]
        value, weight = values[place], values[1 - place]
        if any(batch) or len(contracted[0]) != 1:
            return None
        axis, weight_axis = contracted[place][0], contracted[1 - place][0]
        columns = weight.size // weight.shape[weight_axis]
        pieces = self._pieces(value, axis, columns)
        if all(rows is None for rows, _ in pieces):
            return None
        total, start = None, 0
        for rows, parts in pieces:
            stop = start + sum(part.shape[axis] for part in parts)
            w = weight if len(pieces) == 1 else lax.slice_in_dim(weight, start, stop, axis=weight_axis)
            if rows is not None:
                product = _placed(rows.product(w, weight_axis, equation.params["precision"]), weight.ndim - 1, place)
            else:
                part = parts[0] if len(parts) == 1 else lax.concatenate(parts, axis)
                product = _dot(equation, part, lax.optimization_barrier(w), place)
            total, start = product if total is None else total + product, stop
        return total

    def _pieces(self, value: Any, axis: int, columns: int) -> list[tuple[Rows | None, list[Any]]]:
        """The parts of a value along `axis`: rows that are worth a table, and what lies between them."""
        found: list[tuple[Rows | None, list[Any]]] = []
        for part in self._flat(value, axis):
            rows = self._is(part)
            if (
                isinstance(rows, Rows)
                and rows.axis == axis
                and self.rule.allows(len(rows.table), rows.table.shape[1], columns)
            ):
                found.append((rows, [part]))
            elif found and found[-1][0] is None:
                found[-1][1].append(part)
            else:
                found.append((None, [part]))
        return found

    def _flat(self, value: Any, axis: int) -> list[Any]:
        """The parts of which a value is put together along `axis`."""
        known = self._is(value)
        if not isinstance(known, _Joined) or known.axis != axis:
            return [value]
        return [inner for part in known.parts for inner in self._flat(part, axis)]


def _dot(equation: JaxprEqn, value: Any, weight: Any, place: int) -> Array:
    names = ("dimension_numbers", "precision", "preferred_element_type")
    operands = (weight, value) if place else (value, weight)
    return lax.dot_general(*operands, **{name: equation.params[name] for name in names})


def _placed(product: Array, weight_axes: int, place: int) -> Array:
    """The axes of a product with those of the operand that was on the left first."""
    ids_axes = product.ndim - weight_axes
    order = [*range(ids_axes, product.ndim), *range(ids_axes)]
    return lax.transpose(product, order) if place else product
