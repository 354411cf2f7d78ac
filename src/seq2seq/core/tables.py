"""A row of a table times a weight, as a row of the table times the weight, which is computed once.

    table[ids] @ w = (table @ w)[ids]

(Devlin 2017, section 3.2, "pre-computed embeddings".) A decoder looks its last token up at every step and multiplies
what it finds by the weights of its cell. Both factors stay the same as long as one decodes, so that the product can be
a lookup itself: of a row of vocabulary x output numbers instead of vocabulary x embedding. Where the row lies beside
other things, the product is taken apart: [table[ids], h] @ w = (table @ w[:n])[ids] + h @ w[n:].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

from seq2seq.core.inlining import Evaluation
from seq2seq.core.jaxprs import Env, apply, read, variables

_BY_A_NUMBER: dict[str, Callable[[Any, Any], Any]] = {"mul": lax.mul, "div": lax.div}
"""What may be done to a row and a number without hiding the row."""


@dataclass(frozen=True)
class TableRule:
    """Which products become tables: those that are soon worth it, or cheap, and not too large.

    A table of V rows costs what V rows cost that are multiplied at their time (less where those come one by one:
    measured 15 times less at one row). It is looked up with hardly any cost that depends on its size (98 MB and 144 MB:
    1.2 us a row of 8 kB, against 9 us for the product with an embedding of 128 and 48 us with one of 512).

    Attributes:
        rows: rows that are expected to be read; a table is made if it has no more.
        flops: the most that a table may cost if it has more rows, floating-point operations; 1e9 take 15 to 30 ms.
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


class _Rows(NamedTuple):
    """A value that is rows of a table, table[ids], its `axis` being that of the row: ids has its other axes."""

    table: Array
    ids: Array
    axis: int
    mode: Any

    def product(self, weight: Array, contracted: int) -> Array:
        """The axes of ids, and then those of the weight but for the one that is summed over."""
        left = (((1,), (contracted,)), ((), ()))
        product = lax.dot_general(self.table, weight, left, preferred_element_type=jnp.float32)
        table = lax.optimization_barrier(product.reshape(len(product), -1))
        numbers = lax.GatherDimensionNumbers((self.ids.ndim,), (0,), (0,))
        sizes = (1, table.shape[1])
        found = lax.gather(table, self.ids[..., None], numbers, sizes, mode=self.mode)
        return found.reshape(*self.ids.shape, *product.shape[1:])


class _Joined(NamedTuple):
    """A value that is several, side by side along `axis`."""

    parts: list[Any]
    axis: int


@dataclass(frozen=True)
class _Tabling(Evaluation[Env]):
    """The evaluation.

    Attributes:
        rule: which products become tables.
        known: what is known of a value by its id; the value is kept too, so that no other gets its id.
    """

    rule: TableRule
    known: dict[int, tuple[Any, _Rows | _Joined | float | Array]] = field(default_factory=dict)

    def enter(self, jaxpr: Jaxpr, env: Env) -> Env:
        return env

    def equation(self, equation: JaxprEqn, scope: Env, still: list[bool]) -> list[Any]:
        values = [read(a, scope) for a in equation.invars]
        if equation.primitive.name == "dot_general" and still[0] != still[1]:
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
            return _looked_up(params, values, outputs[0]) if still == [True, False] else None
        if name == "concatenate":
            return _Joined(values, params["dimension"])
        rows = [self._is(value) for value in values]
        if name in _BY_A_NUMBER and len(values) == 2:
            return self._by_a_number(_BY_A_NUMBER[name], values, still)
        if name == "broadcast_in_dim" and still[0] and values[0].size == 1:
            return values[0]
        if len(values) != 1 or not isinstance(rows[0], _Rows):
            return None
        return _moved(name, params, rows[0], outputs[0].shape)

    def _by_a_number(self, f: Callable[[Any, Any], Any], values: list[Any], still: list[bool]) -> _Rows | None:
        for place, value in enumerate(values):
            rows, number = self._is(value), values[1 - place]
            if not isinstance(rows, _Rows) or not still[1 - place] or (f is lax.div and place == 1):
                continue
            number = number if number.size == 1 else self._is(number)
            if number is not None and not isinstance(number, (_Rows, _Joined)):
                return rows._replace(table=f(rows.table, jnp.broadcast_to(number.reshape(()), rows.table.shape)))
        return None

    def _product(self, equation: JaxprEqn, values: list[Any], place: int) -> Array | None:
        """The product of the changing operand at `place` with a weight, where it has rows of a table in it."""
        contracted, batch = equation.params["dimension_numbers"]
        value, weight = values[place], values[1 - place]
        if any(batch) or len(contracted[0]) != 1 or any(x.dtype != jnp.float32 for x in values):
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
                product = _placed(rows.product(w, weight_axis), weight.ndim - 1, place)
            else:
                part = parts[0] if len(parts) == 1 else lax.concatenate(parts, axis)
                product = _dot(equation, part, lax.optimization_barrier(w), place)
            total, start = product if total is None else total + product, stop
        return total

    def _pieces(self, value: Any, axis: int, columns: int) -> list[tuple[_Rows | None, list[Any]]]:
        """The parts of a value along `axis`: rows that are worth a table, and what lies between them."""
        found: list[tuple[_Rows | None, list[Any]]] = []
        for part in self._flat(value, axis):
            rows = self._is(part)
            if (
                isinstance(rows, _Rows)
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


def _looked_up(params: dict[str, Any], values: list[Any], found: Any) -> _Rows | None:
    """What a gather is if it takes whole rows: one index each, or a second one that whole rows leave no choice."""
    table, indices = values
    numbers, mode = params["dimension_numbers"], params["mode"]
    if table.ndim != 2 or numbers.operand_batching_dims or params["slice_sizes"] != (1, table.shape[1]):
        return None
    filled, value = mode == lax.GatherScatterMode.FILL_OR_DROP, params["fill_value"]
    indexed = ((0,),) if filled else ((0,), (0, 1), (1, 0))
    as_if_nan = not filled or value is None or math.isnan(value)  # a product with NaN is NaN
    if numbers.start_index_map not in indexed or 1 in numbers.collapsed_slice_dims or not as_if_nan:
        return None
    axis = numbers.offset_dims[-1]
    ids = indices[..., numbers.start_index_map.index(0)]
    return _Rows(table, ids.reshape(_without(found.shape, axis)), axis, mode)


def _moved(name: str, params: dict[str, Any], rows: _Rows, shape: tuple[int, ...]) -> _Rows | None:
    """What rows are after their axes were given another order or shape, if they are still whole."""
    others = list(_without(range(rows.ids.ndim + 1), rows.axis))
    match name:
        case "reshape" | "squeeze" | "expand_dims" if params.get("dimensions") is None or name != "reshape":
            width, before = rows.table.shape[1], math.prod(rows.ids.shape[: rows.axis])
            axes = [i for i, size in enumerate(shape) if size == width and math.prod(shape[:i]) == before]
            return rows._replace(ids=rows.ids.reshape(_without(shape, axes[0])), axis=axes[0]) if axes else None
        case "broadcast_in_dim":
            axes = params["broadcast_dimensions"]
            axis = axes[rows.axis]
            if shape[axis] != rows.table.shape[1]:
                return None
            kept = [axes[other] - (axes[other] > axis) for other in others]
            return rows._replace(ids=lax.broadcast_in_dim(rows.ids, _without(shape, axis), kept), axis=axis)
        case "convert_element_type" | "copy" | "copy_p" if params.get("new_dtype", jnp.float32) == jnp.float32:
            return rows
    return None


def _dot(equation: JaxprEqn, value: Any, weight: Any, place: int) -> Array:
    names = ("dimension_numbers", "precision", "preferred_element_type")
    operands = (weight, value) if place else (value, weight)
    return lax.dot_general(*operands, **{name: equation.params[name] for name in names})


def _placed(product: Array, weight_axes: int, place: int) -> Array:
    """The axes of a product with those of the operand that was on the left first."""
    ids_axes = product.ndim - weight_axes
    order = [*range(ids_axes, product.ndim), *range(ids_axes)]
    return lax.transpose(product, order) if place else product


def _without(axes: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*axes[:axis], *axes[axis + 1 :])
