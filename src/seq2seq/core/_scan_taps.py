"""Where the pushes of `_scan_loop.py` enter a loop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from jax.extend.core import JaxprEqn, Literal, Var

from seq2seq.core._scan_split import Equations, Split, operands
from seq2seq.core.jaxprs import byte_count, defined, is_float, same_shape, variables

WIDEST = 4  # times what it is measured against, and a value costs more to keep than to compute again
_STRUCTURE = frozenset({"reshape", "slice", "split", "squeeze", "transpose"})


@dataclass(frozen=True)
class Pieces:
    """A value that is only taken apart: `structure` (split, slice, reshape) leads from `whole` to its `leaves`."""

    whole: Var
    structure: Equations
    leaves: tuple[Var, ...]

    def overlap(self) -> bool:
        """Whether two leaves may share an element of `whole`."""
        read = [v for e in self.structure if e.primitive.name != "slice" for v in variables(e.invars)]
        boxes = [
            (e.invars[0], list(zip(e.params["start_indices"], e.params["limit_indices"], strict=True)))
            for e in self.structure
            if e.primitive.name == "slice"
        ]
        touching = any(
            a is b and all(i < n and m < j for (i, j), (m, n) in zip(box, other, strict=True))
            for k, (a, box) in enumerate(boxes)
            for b, other in boxes[:k]
        )
        return touching or len(set(read)) < len(read) or any(v in read for v, _ in boxes)


@dataclass(frozen=True)
class Tap:
    """A product in the loop, and where the push on its result enters.

    Attributes:
        equation: the product, `other @ weight` or the like.
        weight: its invariant operand.
        other: its varying operand.
        pieces: its result, taken apart: the push enters at the leaves.
        partners: for each leaf the piece of a stream that is added to it and used nowhere else, if there is one: a push
            on the leaf is a push on that, and their cotangent is computed and stored once.
    """

    equation: JaxprEqn
    weight: Var
    other: Var
    pieces: Pieces
    partners: tuple[Var | None, ...]


@dataclass(frozen=True)
class Taps:
    """The taps of the loop of `parts`."""

    parts: Split

    @cached_property
    def all(self) -> list[Tap]:
        """The products of the loop that are worth it."""
        pairs = [(e, operands(e, self.parts.invariant)) for e in self.parts.loop]
        return [self._tap(e, *pair) for e, pair in pairs if pair is not None and self._is_worth_it(*pair)]

    def _is_worth_it(self, weight: Var, other: Var) -> bool:
        """The cost rule: whether to keep `other` of every step, or to add to the weight's gradient at every step.

        A tap keeps `other`; without one the gradient is read and written. So a small weight of a wide operand, such as
        the vector that scores every source position in attention, is left to the loop. States are kept anyway.
        """
        return other in self.parts.carry or byte_count([other]) <= WIDEST * byte_count([weight])

    def _tap(self, equation: JaxprEqn, weight: Var, other: Var) -> Tap:
        pieces = self._pieces(equation.outvars[0], _STRUCTURE)
        return Tap(equation, weight, other, pieces, tuple(self._partner(leaf) for leaf in pieces.leaves))

    def _pieces(self, whole: Var, apart: frozenset[str]) -> Pieces:
        """`whole` taken apart as far as the loop does nothing else with it."""
        structure: list[JaxprEqn] = []
        leaves: list[Var] = []
        waiting = [whole]
        while waiting:
            v = waiting.pop(0)
            readers = self._readers.get(v, [])
            takers = [e for e in readers if e is not None and self._takes_apart(e, v, apart)]
            if readers and len(takers) == len(readers):
                structure += takers
                waiting += defined(takers)
            elif readers:
                leaves.append(v)
        return Pieces(whole, tuple(e for e in self.parts.loop if any(e is s for s in structure)), tuple(leaves))

    def _takes_apart(self, equation: JaxprEqn, v: Var, names: frozenset[str]) -> bool:
        name, others = equation.primitive.name, [a for a in equation.invars if a is not v]
        if name not in _STRUCTURE:  # an addition that leaves `v` as it is, but for a constant: not v + v
            return (
                name in names and len(others) == 1 and same_shape(equation.outvars[0], v) and self._is_constant(*others)
            )
        return True

    def _is_constant(self, atom: Var | Literal) -> bool:
        return isinstance(atom, Literal) or atom in self.parts.invariant

    def _partner(self, leaf: Var) -> Var | None:
        """The piece of a stream that is only ever added to `leaf`, which is read nowhere else either."""
        for e in self._readers[leaf]:
            for v in variables(e.invars) if e is not None and e.primitive.name == "add" else ():
                alone = len(self._readers[v]) == len(self._readers[leaf]) == 1
                if alone and v in self.stream_of and same_shape(v, leaf):
                    return v
        return None

    @cached_property
    def stream_of(self) -> dict[Var, Pieces]:
        """The stacked inputs of the loop, by each of their pieces; only those whose pieces do not overlap."""
        streams = [
            self._pieces(v, _STRUCTURE | {"add"})
            for v in self.parts.loop_reads
            if v in self.parts.stacked and is_float(v)
        ]
        return {leaf: p for p in streams if not p.overlap() for leaf in p.leaves}

    @cached_property
    def _readers(self) -> dict[Var, list[JaxprEqn | None]]:
        """The equations of the loop that read each variable; None stands for a reader outside."""
        readers: dict[Var, list[JaxprEqn | None]] = {}
        for e in self.parts.loop:
            for v in variables(e.invars):
                readers.setdefault(v, []).append(e)
        for v in (*self.parts.emitted, *variables(self.parts.carry_out)):
            readers.setdefault(v, []).append(None)
        return readers
