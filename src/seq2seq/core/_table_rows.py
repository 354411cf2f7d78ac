"""What a traced program looks up: whole rows of a table, by whatever indices, also after their axes were moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax


class Rows(NamedTuple):
    """A value that is rows of a table, table[ids], its `axis` being that of the row: ids has its other axes."""

    table: Array
    ids: Array
    axis: int
    mode: Any

    def product(self, weight: Array, contracted: int, precision: Any) -> Array:
        """The axes of ids, and then those of the weight but for the one that is summed over."""
        left = (((1,), (contracted,)), ((), ()))
        product = lax.dot_general(self.table, weight, left, precision, jnp.float32)
        table = lax.optimization_barrier(product.reshape(len(product), -1))
        numbers = lax.GatherDimensionNumbers((self.ids.ndim,), (0,), (0,))
        sizes = (1, table.shape[1])
        found = lax.gather(table, self.ids[..., None], numbers, sizes, mode=self.mode)
        return found.reshape(*self.ids.shape, *product.shape[1:])


def looked_up(params: dict[str, Any], values: list[Any], found: Any) -> Rows | None:
    """What a gather is if it takes whole rows: one index each, or a second one that whole rows leave no choice."""
    table, indices = values
    numbers, mode = params["dimension_numbers"], params["mode"]
    if table.ndim != 2 or not jnp.issubdtype(table.dtype, jnp.floating):
        return None
    if numbers.operand_batching_dims or params["slice_sizes"] != (1, table.shape[1]):
        return None
    filled, value = mode == lax.GatherScatterMode.FILL_OR_DROP, params["fill_value"]
    indexed = ((0,),) if filled else ((0,), (0, 1), (1, 0))
    as_if_nan = not filled or value is None or math.isnan(value)  # a product with NaN is NaN
    if numbers.start_index_map not in indexed or 1 in numbers.collapsed_slice_dims or not as_if_nan:
        return None
    axis = numbers.offset_dims[-1]
    ids = indices[..., numbers.start_index_map.index(0)]
    return Rows(table, ids.reshape(_without(found.shape, axis)), axis, mode)


def moved(name: str, params: dict[str, Any], rows: Rows, shape: tuple[int, ...]) -> Rows | None:
    """What rows are after their axes were given another order or shape, if they are still whole."""
    others = list(_without(range(rows.ids.ndim + 1), rows.axis))
    match name:
        case "reshape" | "squeeze" if name == "squeeze" or params["dimensions"] is None:
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
        case "convert_element_type":
            return rows._replace(table=rows.table.astype(params["new_dtype"]))
        case "copy" | "copy_p":
            return rows
    return None


def _without(axes: Sequence[int], axis: int) -> tuple[int, ...]:
    return (*axes[:axis], *axes[axis + 1 :])
