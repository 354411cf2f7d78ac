"""A model's classes and static fields go through JSON and come back; what cannot is said, and nothing is imported."""

from __future__ import annotations

import enum
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from seq2seq.core.module import module, named_leaves
from seq2seq.core.seams import Cell
from seq2seq.core.skeleton import describe, rebuild, source_hash
from seq2seq.errors import ArchiveError, CorruptArchiveError, LeafError, UnknownClassError
from seq2seq.nn.cells import LSTM
from seq2seq.nn.layers import FF, Embedding
from seq2seq.nn.recurrent import Stack


@module
class Mine:
    w: Array
    inner: FF | None
    cells: tuple[Cell, ...] = ()
    table: dict[str, FF]
    listed: list[Array]
    setting: Any = None
    activation: Callable[[Array], Array] = jax.nn.relu


def mine(setting: Any = None, activation: Any = jax.nn.relu) -> Mine:
    layer = FF(w=jnp.ones((2, 3)), b=jnp.zeros(3))
    stack = Stack(cells=(LSTM(w=jnp.ones((3, 8)), u=jnp.ones((2, 8)), b=jnp.zeros(8)),), residual=True)
    return Mine(
        w=jnp.arange(3.0),
        inner=None,
        cells=(stack,),
        table={"b": layer, "a": layer},
        listed=[jnp.ones(1)],
        setting=setting,
        activation=activation,
    )


def there_and_back(tree: Any, types: list[type]) -> Any:
    return rebuild(json.loads(json.dumps(describe(tree))), named_leaves(tree), types)


@pytest.mark.parametrize(
    "setting", [None, True, 3, 0.1, 1e-45, float("inf"), "grün\n", (), (1, ("two", None), 3.0), jax.nn.silu]
)
def test_every_static_value_comes_back_as_it_was(setting):
    tree = mine(setting)
    back = there_and_back(tree, [Mine])
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    assert back.setting == setting and type(back.setting) is type(setting)
    assert back.cells[0].residual is True and back.activation is jax.nn.relu
    jax.tree.map(np.testing.assert_array_equal, back, tree)


class Colour(enum.IntEnum):
    RED = 1


class Size(NamedTuple):
    width: int = 3


@pytest.mark.parametrize(
    "setting",
    [
        lambda x: x,
        np.tanh,
        Colour.RED,
        frozenset([1]),
        b"bytes",
        1j,
        (1, b"x"),
        json.loads,
        Mine,
        np.float32(1),
        Size(),
    ],
    ids=lambda setting: type(setting).__name__,
)
def test_a_static_value_that_json_cannot_hold_is_refused(setting):
    with pytest.raises(ArchiveError, match=r"^Mine\.setting = .* cannot be saved: static values are"):
        describe(mine(setting))


def test_only_functions_of_the_allowed_modules_are_imported():
    skeleton = describe(mine(jax.nn.silu))
    for name in ("os.system", "jax.nn.nothing", "json.loads", "seq2seq.core.archive.write", "", "jax.nn.initializers"):
        skeleton["static"]["setting"] = {"function": name}
        with pytest.raises(ArchiveError, match=f"names the function {name}, which cannot be found"):
            rebuild(skeleton, named_leaves(mine()), [Mine])


FF_CLASS = "seq2seq.nn.layers.FF"


@pytest.mark.parametrize(
    "skeleton",
    [
        *("x", "tuple", 3, [], {}, {"tuple": 3}, {"tuple": {}}, {"list": "leaf"}, {"dict": []}),
        *({"fields": {}}, {"fields": {}, "class": FF_CLASS}, {"fields": {}, "static": {}}),
        *({"class": FF_CLASS, "static": [], "fields": {}}, {"class": 3, "static": {}, "fields": {}}),
        *({"class": FF_CLASS, "static": {"a": value}, "fields": {}} for value in ([], {}, {"tuple": 3})),
        *({"class": FF_CLASS, "static": {"a": {"function": value}}, "fields": {}} for value in (None, [])),
        {"class": FF_CLASS, "static": {"a": {"tuple": [[]]}}, "fields": {}},
    ],
    ids=str,
)
def test_what_describe_never_wrote_is_corrupt(skeleton):
    with pytest.raises(CorruptArchiveError, match="which seq2seq never writes"):
        rebuild(skeleton, {})


def test_a_class_of_the_users_must_be_handed_in():
    tree = mine()
    with pytest.raises(
        UnknownClassError, match=r"the class Mine \(source [0-9a-f]{12}\).*types=\[Mine\].*FILE.py:Mine"
    ):
        there_and_back(tree, [])
    with pytest.raises(UnknownClassError, match="class Mine"):
        there_and_back(tree, [FF, type("Mine", (), {})])
    assert type(there_and_back(tree, [FF, Mine])) is Mine
    assert source_hash(Mine) == source_hash(Mine) != source_hash(FF) and source_hash(int) == "unknown"


def test_a_class_of_ours_that_is_gone_says_upgrade():
    for name in ("nn.cells.Nothing", "nowhere.X", "nn.cells.zeros", "nn.cells.GRU.init"):
        gone = f"seq2seq.{name}"
        skeleton = {**describe(FF(w=jnp.ones((1, 1)), b=jnp.ones(1))), "class": gone}
        with pytest.raises(UnknownClassError, match=f"no module {gone}; upgrade seq2seq-jax"):
            rebuild(skeleton, {})


def test_a_leaf_too_many_or_too_few_is_named():
    tree = mine()
    arrays = named_leaves(tree)
    with pytest.raises(LeafError, match="leaf cells/0/cells/0/u is missing"):
        rebuild(describe(tree), {name: a for name, a in arrays.items() if not name.endswith("0/u")}, [Mine])
    with pytest.raises(LeafError, match=r"leaf more of the archive has no place in the model \(1 extra"):
        rebuild(describe(tree), {**arrays, "more": jnp.ones(1)}, [Mine])


def test_what_a_class_of_ours_has_got_since_is_as_it_was_without():
    embedding = Embedding(table=jnp.ones((3, 2)), scale=0.5)
    older = describe(embedding)
    del older["static"]["scale"]
    assert rebuild(older, {"table": embedding.table}).scale == 1.0
    del older["fields"]["table"]
    with pytest.raises(LeafError, match="field table is not in the archive but in the class Embedding"):
        rebuild(older, {})


def test_a_class_that_changed_since_says_which_field():
    old = mine()

    @module
    class Mine2(Mine):
        rate: float = 0.5

    Mine2.__name__ = "Mine"
    with pytest.raises(LeafError, match="field rate is not in the archive but in the class Mine"):
        there_and_back(old, [Mine2])
    new = Mine2(**{name: getattr(old, name) for name in ("w", "inner", "table", "listed")})
    with pytest.raises(LeafError, match="field rate is in the archive but not in the class Mine"):
        there_and_back(new, [Mine])


def test_the_names_can_stand_below_a_prefix():
    layer = FF(w=jnp.ones((2, 3)), b=jnp.zeros(3))
    arrays = {f"model/{name}": leaf for name, leaf in named_leaves(layer).items()}
    assert rebuild(describe(layer), arrays, name="model").w.shape == (2, 3)


class NamedPair(NamedTuple):
    w: Array


def test_what_is_no_tree_of_arrays_is_refused():
    with pytest.raises(ArchiveError, match="the key 1 of a dict cannot be saved"):
        describe({1: jnp.ones(1)})
    with pytest.raises(ArchiveError, match="object is no array, module, tuple, list or dict"):
        describe((object(),))
    for odd in (NamedPair(jnp.ones(1)), OrderedDict(w=jnp.ones(1))):  # would come back as a tuple and a dict
        with pytest.raises(ArchiveError, match=f"{type(odd).__name__} is no array"):
            describe({"x": odd})
