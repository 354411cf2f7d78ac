"""A module is a pytree whose leaves are read off its annotations, and every transformation takes it as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar
from typing import Mapping as BareMapping  # noqa: UP035

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from seq2seq.core.module import count, is_module, module, named_leaves, pretty, restore
from seq2seq.errors import ModuleError

L = TypeVar("L", bound="Layer")


class Layer(Protocol):
    def __call__(self, x: Array) -> Array: ...


P = TypeVar("P", bound=Layer)
U = TypeVar("U")


@module
class Scale(Layer):
    by: Array
    power: int = 1

    def __call__(self, x: Array) -> Array:
        return (x * self.by) ** self.power


@module
class Everything(Generic[P, U]):
    kinds: ClassVar[int] = 3
    array: Array
    maybe: Array | None = None
    inner: Scale
    layers: tuple[Scale | None, ...] = ()
    table: dict[str, Array]
    listed: list[tuple[Array, Scale]]
    protocol: Layer
    generic: P
    rate: float = 0.1
    name: str | None = None
    feed: Literal["a", "b"] = "a"
    activation: Callable[[Array], Array] = jnp.tanh
    sizes: tuple[int, ...] = (1, 2)
    layer: type[Layer] = Scale
    anything: Any = None
    unbound: U


def scale(value: float = 2.0, power: int = 1) -> Scale:
    return Scale(by=jnp.full((), value, jnp.float32), power=power)


def everything() -> Everything[Scale, int]:
    return Everything(
        array=jnp.ones((2, 3)),
        inner=scale(),
        layers=(scale(), None),
        table={"b": jnp.ones(1), "a": jnp.ones(2)},
        listed=[(jnp.ones(4), scale())],
        protocol=scale(),
        generic=scale(),
        unbound=5,
    )


NAMES = [
    *("array", "inner/by", "layers/0/by", "table/a", "table/b", "listed/0/0", "listed/0/1/by", "protocol/by"),
    "generic/by",
]


def test_annotations_tell_leaves_from_static_fields():
    tree = everything()
    assert list(named_leaves(tree)) == NAMES
    assert Everything.__module_statics__ == (
        *("rate", "name", "feed", "activation", "sizes", "layer", "anything"),
        "unbound",
    )
    assert count(tree) == 6 + 1 + 1 + 2 + 1 + 4 + 1 + 1 + 1
    assert count(jax.eval_shape(everything)) == count(tree)


def test_changing_a_static_field_changes_the_structure_and_changing_a_leaf_does_not():
    tree = everything()
    assert jax.tree.structure(tree) == jax.tree.structure(jax.tree.map(jnp.zeros_like, tree))
    assert jax.tree.structure(tree) != jax.tree.structure(dataclasses.replace(tree, rate=0.2))
    assert jax.tree.structure(scale(power=1)) != jax.tree.structure(scale(power=2))


def test_flatten_and_unflatten_keep_everything():
    tree = everything()
    leaves, structure = jax.tree.flatten(tree)
    back = structure.unflatten(leaves)
    for field in dataclasses.fields(tree):
        if field.name in Everything.__module_statics__:
            assert getattr(back, field.name) is getattr(tree, field.name)
    assert all(a is b for a, b in zip(jax.tree.leaves(back), leaves, strict=True))


def test_unflatten_takes_none_tracers_and_shapes_without_asking():
    structure = jax.tree.structure(scale())
    assert structure.unflatten([None]).by is None
    assert structure.unflatten(["a label for optax"]).by == "a label for optax"
    assert jax.eval_shape(scale).by.shape == ()
    assert jax.tree.map(lambda leaf: leaf.dtype, scale()).by == jnp.float32


def test_is_frozen_and_keyword_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        scale().power = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        Scale(jnp.ones(()))  # type: ignore[misc]


def test_equality_and_hash_are_identity_so_that_bound_methods_are_hashable():
    one, other = scale(), scale()
    assert one == one and one != other and len({one, other}) == 2
    assert hash(one.__call__) == hash(one.__call__) and one.__call__ == one.__call__ != other.__call__


def test_transformations_take_it_as_it_is():
    def loss(m: Scale, x: Array) -> Array:
        return m(x).sum()

    m, x = scale(3.0, power=2), jnp.array([1.0, 2.0])
    gradient = jax.jit(jax.grad(loss))(m, x)
    assert type(gradient) is Scale and gradient.power == 2
    assert float(gradient.by) == pytest.approx(2 * 3 * (1 + 4))
    assert float(jax.grad(jax.checkpoint(loss))(m, x).by) == pytest.approx(30)
    many = jax.vmap(lambda value: Scale(by=value, power=2))(jnp.arange(3.0))
    assert jax.vmap(loss, in_axes=(0, None))(many, x).tolist() == [0, 5, 20]
    assert jax.lax.scan(lambda m, x: (m, m(x)), m, x)[1].tolist() == [9, 36]


def test_optax_takes_it_as_it_is_and_leaves_static_floats_alone():
    @module
    class Dropping:
        w: Array
        dropout: float

    m = Dropping(w=jnp.ones(3), dropout=0.3)
    optimizer = optax.adam(0.1)
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
        updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, m), optimizer.init(m), m)
    moved = optax.apply_updates(m, updates)
    assert moved.dropout == 0.3
    np.testing.assert_allclose(moved.w, 0.9, atol=1e-5)


def test_a_subclass_has_the_fields_of_its_base():
    @module
    class Shifted(Scale):
        shift: Array

        def __call__(self, x: Array) -> Array:
            return super().__call__(x) + self.shift

    m = Shifted(by=jnp.array(2.0), shift=jnp.array(1.0), power=2)
    assert list(named_leaves(m)) == ["by", "shift"] and Shifted.__module_statics__ == ("power",)
    assert float(m(jnp.array(3.0))) == 37.0


def test_names_in_the_annotations_of_a_base_mean_what_they_meant_there():
    Array = int  # noqa: F841  # what `by` must not become in the subclass

    @module
    class Derived(Scale):
        steps: Array = 3

    assert Derived.__module_leaves__ == ("by",) and Derived.__module_statics__ == ("power", "steps")


def test_classes_of_a_function_may_hold_each_other_and_themselves():
    @module
    class Inner:
        w: Array

    @module
    class Node:
        value: Inner
        below: Node | None = None

    tree = Node(value=Inner(w=jnp.ones(2)), below=Node(value=Inner(w=jnp.ones(3))))
    assert list(named_leaves(tree)) == ["value/w", "below/value/w"]

    @module
    class Outer(Node):
        more: Array

    assert Outer.__module_leaves__ == ("value", "below", "more")


def test_a_subclass_that_is_no_module_is_refused():
    class Forgotten(Scale):
        pass

    with pytest.raises(ModuleError, match="Forgotten inherits from the module Scale; make it a @module too"):
        Forgotten(by=jnp.ones(()))


def test_a_base_that_is_a_dataclass_and_no_module_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Common:
        width: int

    with pytest.raises(ModuleError, match="Wide inherits from the dataclass Common; make that a @module too"):

        @module
        class Wide(Common):
            w: Array


def test_an_annotation_that_mixes_leaves_with_static_values_is_refused():
    for mixed in (tuple[Array, int], Array | float, dict[str, Scale | str], list[tuple[Layer, bool]]):
        with pytest.raises(ModuleError, match=r"Mixed\.both: .* mixes arrays or modules with static values"):
            module(type("Mixed", (), {"__annotations__": {"both": mixed}}))


def test_a_table_of_whatever_is_static():
    made = module(type("Told", (), {"__annotations__": {"of": BareMapping}}))
    assert jax.tree.leaves(made(of=())) == []


def test_an_annotation_that_cannot_be_found_is_refused():
    with pytest.raises(ModuleError, match="Misspelt: there is no 'Aray' in an annotation"):
        module(type("Misspelt", (), {"__annotations__": {"w": "jax.Aray"}, "__module__": __name__}))
    with pytest.raises(ModuleError, match="Lost: the annotation 'Nowhere' cannot be found; import it for real"):

        @module
        class Lost:
            w: Nowhere  # noqa: F821  # pyright: ignore


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rate", np.ones(2), "rate: a static value must be hashable, found ndarray"),
        ("sizes", [1, 2], "sizes: a static value must be hashable, found list"),
        ("anything", scale(), "anything: a Scale in a static field would never be trained"),
        ("activation", scale(), "activation: a Scale in a static field would never be trained"),
        ("anything", (1, (scale(),)), "anything: a Scale in a static field would never be trained"),
        ("array", jnp.arange(3), "array: an array of int32 cannot be a leaf"),
        ("table", {"mask": jnp.ones(2, bool)}, "table: an array of bool cannot be a leaf"),
        ("maybe", jax.random.key(0), r"maybe: an array of key<fry> cannot be a leaf"),
        ("array", 0.5, r"array: wanted an array, found 0.5; use jnp.asarray"),
        ("layers", (1,), r"layers: wanted an array, found 1; use jnp.asarray"),
        ("protocol", object(), "protocol: wanted arrays or modules, found object; make its class a @module"),
    ],
)
def test_what_would_go_wrong_later_is_refused_at_once(field, value, message):
    with pytest.raises(ModuleError, match=rf"^Everything\.{message}"):
        dataclasses.replace(everything(), **{field: value})


def test_restore_is_init_without_the_checks():
    m = restore(Scale, {"by": jnp.ones(()), "power": 4})
    assert (m.power, jax.tree.structure(m)) == (4, jax.tree.structure(scale(power=4)))


def test_is_module_of_classes_and_instances():
    assert is_module(Scale) and is_module(scale())
    assert not is_module(Layer) and not is_module(jnp.ones(1)) and not is_module(None)


def test_pretty_shows_every_field_and_count():
    lines = pretty(everything()).splitlines()
    assert lines[0] == f"Everything ({count(everything())} parameters)" and repr(everything()) == "\n".join(lines)
    for line in (
        "  array: float32[2, 3]",
        "  maybe = None",
        "  inner: Scale (1 parameters)",
        "    by: float32[]",
        "    power = 1",
        "  layers/0: Scale (1 parameters)",
        "  layers/1 = None",
        "  table/a: float32[2]",
        "  listed/0/0: float32[4]",
        "  activation = tanh",
        "  layer = Scale",
        "  name = None",
    ):
        assert line in lines


def test_a_tree_of_numbers_can_be_printed():
    @module
    class Norm:
        w: Array

    norms = jax.tree.map(lambda w: float(abs(w).max()), Norm(w=jnp.ones(3)))
    assert "w = 1.0" in repr(norms)


def test_classes_with_the_same_fields_are_not_one_to_jit():
    @module
    class One:
        w: Array

    @module
    class Other:
        w: Array

    one, other = (jax.tree.structure(kind(w=jnp.ones(2))) for kind in (One, Other))
    assert one != other
