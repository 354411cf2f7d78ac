"""Cells through time and in layers: `unroll`, `Stack`, `Bidirectional` and `Dropped`, over any cell."""

from __future__ import annotations

from typing import Any, NamedTuple, Self, TypeGuard, TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import KeyPath

from seq2seq.core.module import leaf_name, module
from seq2seq.core.scan import scan
from seq2seq.core.seams import Cell, Drawn, Key, State
from seq2seq.errors import ModuleError, ShapeError
from seq2seq.nn.cells import GRU
from seq2seq.nn.initializers import is_recurrent
from seq2seq.nn.layers import dropout_mask

T = TypeVar("T")


def unroll(
    cell: Cell, xs: Array, lengths: Array | None = None, state: State = None, *, reverse: bool = False
) -> tuple[State, Array]:
    """Run a cell over sequences of different lengths.

    state_t, y_t = cell.step(state_{t-1}, x_t) while t < length; after it the state is frozen and y is 0. With
    `reverse` each row is read from its own last token back to its first; outputs stay in the order of the input.

    Args:
        cell: any cell.
        xs: (time, batch, input).
        lengths: (batch,) tokens in each row, or None if all are full.
        state: the state to begin with; `cell.initial_state(batch)` if None.
        reverse: read backwards.

    Returns:
        The last state of each row, (batch, ...) leaves, and the outputs, (time, batch, hidden).

    Raises:
        ShapeError: xs is not (time, batch, input), or lengths is not (batch,).

    Example:
        >>> cell = GRU.init(jax.random.key(0), 3, 5)
        >>> state, ys = unroll(cell, jnp.ones((7, 2, 3)), jnp.array([7, 4]))
        >>> bool((state[1] == ys[3, 1]).all()), float(ys[4:, 1].sum())
        (True, 0.0)
    """
    if getattr(xs, "ndim", None) != 3:
        found = getattr(xs, "shape", type(xs).__name__)
        raise ShapeError(f"unroll: xs is {found}, wanted (time, batch, input); `scan` takes any tree of inputs.")
    time, batch, _ = xs.shape
    state = cell.initial_state(batch) if state is None else state
    if lengths is None:
        return scan(cell.step, state, xs, reverse=reverse)
    if lengths.shape != (batch,):
        raise ShapeError(f"unroll: lengths is {lengths.shape}, wanted ({batch},) for xs {xs.shape}.")
    # Padding comes last, so a backward scan meets it first, while the state is still the initial one: freezing the
    # state on padding is all it takes to reverse each row within its own length.
    running = jnp.arange(time)[:, None] < lengths

    def step(before: State, inputs: tuple[Array, Array]) -> tuple[State, Array]:
        x, run = inputs
        found = cell.step(before, x)
        if not (isinstance(found, tuple) and len(found) == 2):
            many = f" of {len(found)}" if isinstance(found, tuple) else ""
            raise ModuleError(
                f"{type(cell).__name__}.step returned {type(found).__name__}{many}; wanted (state, output), as "
                "lax.scan's body does: return h, h."
            )
        after, ys = found
        if (came := jax.tree.structure(after)) != (went := jax.tree.structure(before)):
            raise ModuleError(
                f"{type(cell).__name__}.step returned the state {came}; wanted what initial_state returned, {went}."
            )
        kept = jax.tree.map(lambda new, old: where_rows(run, new, old), after, before)
        return kept, jax.tree.map(lambda y: where_rows(run, y, 0), ys)

    return scan(step, state, (xs, running), reverse=reverse)


def where_rows(rows: Array, new: Array, old: Any) -> Array:
    """`new` in the rows, (batch,), that are true, `old` in the others; both (batch, ...)."""
    return jnp.where(rows.reshape(rows.shape + (1,) * (new.ndim - rows.ndim)), new, old).astype(new.dtype)


@module
class Stack(Cell):
    """A cell made of cells: each reads what the one below it says at the same time.

    y_1 = cell_1(x), y_k = cell_k(y_{k-1}), or y_k = y_{k-1} + cell_k(y_{k-1}) with `residual` (He et al. 2016), from
    the second layer on (in Wu et al. 2016 from the third).

    The state is the tuple of the cells' states, the output that of the last.

    Example:
        >>> cell = Stack.init(jax.random.key(0), 3, 5, cell=GRU, layers=2)
        >>> state, y = cell.step(cell.initial_state(2), jnp.ones((2, 3)))
        >>> len(state), y.shape
        (2, (2, 5))
    """

    cells: tuple[Cell, ...]
    residual: bool = False

    @classmethod
    def init(
        cls,
        key: Key,
        input_size: int,
        hidden_size: int,
        cell: type[Cell] = GRU,
        layers: int = 2,
        residual: bool = False,
    ) -> Self:
        """`layers` cells of one class, each `hidden_size` wide."""
        keys = jax.random.split(key, layers)
        sizes = [input_size] + [hidden_size] * (layers - 1)
        return cls(
            cells=tuple(cell.init(k, size, hidden_size) for k, size in zip(keys, sizes, strict=True)),
            residual=residual,
        )

    def initial_state(self, batch: int) -> tuple[State, ...]:
        """The initial states of the cells."""
        return tuple(cell.initial_state(batch) for cell in self.cells)

    def step(self, state: tuple[State, ...], x: Array) -> tuple[tuple[State, ...], Array]:
        """(states, (batch, input)) -> (states, (batch, hidden))."""
        states = []
        for layer, (cell, before) in enumerate(zip(self.cells, state, strict=True)):
            after, y = cell.step(before, x)
            states.append(after)
            x = x + y if self.residual and layer else y
        return tuple(states), x


@module
class Dropped(Cell):
    """A cell with dropout whose masks stay the same through time (Gal and Ghahramani 2016).

    step(s, x) = cell.step(hidden_mask * s, input_mask * x), where a mask is given.

    The masks are drawn once a batch, outside the loop, so that no key enters it.

    Args:
        cell: any cell.
        input_mask: (batch, input), floating, or None.
        hidden_mask: a tree like the state, with a (batch, ...) mask for each leaf, or None. The masked state is also
            what the cell carries on, so let it be of zeros and ones: scaled up, it would grow step by step.

    Example:
        >>> mask = dropout_mask(jax.random.key(1), 0.5, (2, 3))
        >>> cell = Dropped(cell=GRU.init(jax.random.key(0), 3, 5), input_mask=mask)
        >>> state, ys = jax.lax.scan(cell.step, cell.initial_state(2), jnp.ones((7, 2, 3)))
        >>> ys.shape
        (7, 2, 5)
    """

    cell: Cell
    input_mask: Array | None = None
    hidden_mask: tuple[Array, ...] | dict[str, Array] | Array | None = None

    @classmethod
    def init(cls, key: Key, input_size: int, hidden_size: int) -> Self:
        """A `GRU` without masks."""
        return cls(cell=GRU.init(key, input_size, hidden_size))

    def initial_state(self, batch: int) -> State:
        """That of the cell."""
        return self.cell.initial_state(batch)

    def step(self, state: State, x: Array) -> tuple[State, Array]:
        """As the cell's, behind the masks."""
        if self.hidden_mask is not None:
            state = jax.tree.map(_masked, state, self.hidden_mask)
        return self.cell.step(state, x if self.input_mask is None else _masked(x, self.input_mask))


def _masked(x: Array, mask: Array) -> Array:
    return x * mask.astype(x.dtype)


def drop_between(cell: Cell, key: Key | None, rate: float, shape: tuple[int, int]) -> Cell:
    """`cell`, if it is a `Stack`, with dropout on what passes from layer to layer; `shape` is (batch, input).

    (Zaremba et al. 2014, with masks that stay the same through time.) `key=None` is evaluation: the cell comes back
    as it is, and so does any other cell.

    Example:
        >>> stack = Stack.init(jax.random.key(0), 3, 5)
        >>> type(drop_between(stack, jax.random.key(1), 0.5, (2, 3)).cells[1]).__name__
        'Dropped'
    """
    if key is None or rate == 0 or not isinstance(cell, Stack):
        return cell
    (batch, width), cells = shape, [cell.cells[0]]
    for k, below, layer in zip(jax.random.split(key, len(cell.cells) - 1), cell.cells, cell.cells[1:], strict=False):
        width = output_width(below, width)
        cells.append(Dropped(cell=layer, input_mask=dropout_mask(k, rate, (batch, width))))
    return Stack(cells=tuple(cells), residual=cell.residual)


def draw_cells(tree: T, key: Key | None, batch: int) -> T:
    """Modules in which each cell with dropout of its own is as its `drawn` gives it; see `seq2seq.Drawn`.

    `key=None` is evaluation: they come back as they are.
    """
    nodes, structure = jax.tree.flatten(tree, is_leaf=_is_drawn)
    if key is None or not any(map(_is_drawn, nodes)):
        return tree
    keys = jax.random.split(key, len(nodes))
    return structure.unflatten(
        node.drawn(own, batch) if _is_drawn(node) else node for node, own in zip(nodes, keys, strict=True)
    )


def _is_drawn(node: Any) -> TypeGuard[Drawn]:
    return isinstance(node, Drawn)


def drop_recurrent(tree: T, key: Key | None, rate: float) -> T:
    """Cells, alone or in layers, that do not see some units of their state: h @ u becomes (mask * h) @ u.

    (Gal and Ghahramani 2016; one mask for the whole batch, as rows of the recurrent weights `u` and `u_n`, so that the
    loop does no more than before and what a cell carries on is not touched.) `key=None` is evaluation.

    Example:
        >>> cell = GRU.init(jax.random.key(0), 3, 5)
        >>> seen = drop_recurrent(cell, jax.random.key(1), 0.5).u
        >>> sorted(set((seen / cell.u).mean(1).round(1).tolist()))
        [0.0, 2.0]
    """
    if key is None or rate == 0:
        return tree
    keys = iter(jax.random.split(key, max(1, len(jax.tree.leaves(tree)))))
    of_cells: dict[str, Key] = {}  # weights of one cell hide the same units

    def seen(path: KeyPath, leaf: Array) -> Array:
        k = next(keys)
        name = leaf_name(path)
        if not is_recurrent(name):
            return leaf
        cell = name.rpartition("/")[0]
        units = (len(leaf), *[1] * (leaf.ndim - 1))
        return leaf * dropout_mask(of_cells.setdefault(cell, k), rate, units).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(seen, tree)


def output_width(cell: Cell, input_size: int) -> int:
    """How wide the output of `cell` is, found without computing anything."""
    x = jax.ShapeDtypeStruct((1, input_size), jnp.float32)
    return jax.eval_shape(lambda x: cell.step(cell.initial_state(1), x)[1], x).shape[-1]


class BidirectionalState(NamedTuple):
    """The last states of the two directions."""

    forward: State
    backward: State


@module
class Bidirectional:
    """Two cells, one reading forward and one backward (Schuster and Paliwal 1997): y_t = [forward_t, backward_t].

    Example:
        >>> layer = Bidirectional.init(jax.random.key(0), 3, 4, cell=GRU)
        >>> state, ys = layer(jnp.ones((7, 2, 3)), jnp.array([7, 4]))
        >>> ys.shape
        (7, 2, 8)
    """

    forward: Cell
    backward: Cell

    @classmethod
    def init(cls, key: Key, input_size: int, hidden_size: int, cell: type[Cell] = GRU) -> Self:
        """Two cells of one class, each `hidden_size` wide."""
        kf, kb = jax.random.split(key)
        return cls(forward=cell.init(kf, input_size, hidden_size), backward=cell.init(kb, input_size, hidden_size))

    def __call__(self, xs: Array, lengths: Array | None = None) -> tuple[BidirectionalState, Array]:
        """(time, batch, input) -> the last states and (time, batch, forward + backward)."""
        forward, ys = unroll(self.forward, xs, lengths)
        backward, zs = unroll(self.backward, xs, lengths, reverse=True)
        return BidirectionalState(forward, backward), jnp.concatenate([ys, zs], -1)
