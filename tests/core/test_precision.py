"""bfloat16 products: every product of every inner program, nothing else, and exactly what casting by hand gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax
from jax.extend.core import jaxprs_in_params

import seq2seq.core.precision as precision_module
from seq2seq import GRU, EncoderDecoder, EncoderDecoderConfig, bfloat16_products, module, scan, unroll
from seq2seq.core.precision import in_precision, resolve
from seq2seq.data.batches import Batch
from seq2seq.errors import ConfigError

Product = Callable[[Array, Array], Array]
BFLOAT16 = jnp.bfloat16.dtype


def equations(jaxpr: Any) -> Iterator[Any]:
    for e in jaxpr.eqns:
        yield e
        for inner in jaxprs_in_params(e.params):
            yield from equations(getattr(inner, "jaxpr", inner))


def named(f: Callable[..., Any], args: Any, name: str) -> list[Any]:
    return [e for e in equations(jax.make_jaxpr(f)(*args).jaxpr) if e.primitive.name == name]


def kinds(f: Callable[..., Any], *args: Any) -> list[tuple[str, str, str]]:
    """The types of left, right and result of every product."""
    products = named(f, args, "dot_general")
    return [tuple(str(a.aval.dtype) for a in (*e.invars, *e.outvars)) for e in products]  # pyright: ignore[reportReturnType]


def by_hand(left: Array, right: Array) -> Array:
    ready = lax.optimization_barrier((left.astype(BFLOAT16), right.astype(BFLOAT16)))
    return jnp.matmul(*ready, preferred_element_type=jnp.float32)


def grid(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    """Numbers of 10 bits, more than bfloat16 has, whose products add up exactly in float32, in whatever order."""
    return (np.random.default_rng(seed).integers(-1000, 1000, shape) / 256).astype(np.float32)


def normal(seed: int, *shape: int) -> Array:
    return jax.random.normal(jax.random.key(seed), shape)


def bits(tree: Any) -> list[tuple[Any, bytes]]:
    return [(leaf.shape, np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(tree)]


# One product.

EQUATIONS = ("mk,kn->mn", "km,kn->mn", "mk,nk->mn", "km,nk->mn", "tbk,kn->tbn", "tbk,tbn->kn", "btk,bk->bt")
EQUATIONS += ("bsk,kbn->bsn", "k,k->", "mk,k->m", "bkm,bnk->bmn", "abkl,lkc->abc")
SIZES = dict(zip("abcklmnst", (2, 3, 4, 7, 3, 4, 5, 6, 2), strict=True))


def operands(equation: str) -> list[np.ndarray[Any, Any]]:
    terms = equation.split("->")[0].split(",")
    return [grid(seed, *(SIZES[axis] for axis in term)) for seed, term in enumerate(terms)]


def rounded(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return x.astype(BFLOAT16).astype(np.float32)


@pytest.mark.parametrize("equation", EQUATIONS)
def test_a_product_is_that_of_rounded_operands(equation):
    left, right = operands(equation)
    f = bfloat16_products(lambda x, y: jnp.einsum(equation, x, y))
    found, wanted = jax.jit(f)(left, right), np.einsum(equation, rounded(left), rounded(right))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, wanted)
    assert np.any(np.einsum(equation, left, right) != wanted)
    assert kinds(f, left, right) == [("bfloat16", "bfloat16", "float32")]


@pytest.mark.parametrize("left", [(1, 4), (3, 1), (1, 1), (3, 4)])
@pytest.mark.parametrize("width", [1, 5])
def test_a_product_of_any_size_runs_and_may_be_transposed(left, width):
    """XLA folds and exchanges what it can, and has no kernel for all that it then makes of bfloat16."""
    x, y = grid(0, *left), grid(1, left[1], width)
    wanted = rounded(x) @ rounded(y)
    f = jax.jit(bfloat16_products(lambda x, y: [x @ y, (x @ y).T, y.T @ x.T, (y.T @ x.T).T, jnp.tanh(x @ y).T]))
    for found, expected in zip(f(x, y), (wanted, wanted.T, wanted.T, wanted, np.tanh(wanted).T), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_product_that_is_transposed_is_that_of_the_operands_exchanged():
    x, y = grid(0, 6, 3), grid(1, 6, 5)
    f = bfloat16_products(lambda x, y: jnp.einsum("km,kn->mn", x, y).T)
    assert [e.invars[0].aval.shape for e in named(f, (x, y), "transpose")] == [(6, 1, 5)]  # an operand, no result
    np.testing.assert_array_equal(f(x, y), rounded(y).T @ rounded(x))


@pytest.mark.parametrize("equation", EQUATIONS)
def test_on_the_cpu_operands_are_row_major(equation):
    """[batch, M, K] x [batch, K, N]: the only layout for which its kernels take bfloat16."""
    f = bfloat16_products(lambda x, y: jnp.einsum(equation, x, y))
    (e,) = named(f, operands(equation), "dot_general")
    (left, right), (lead, other) = e.params["dimension_numbers"]
    batch, ndim = len(lead), e.invars[0].aval.ndim
    assert lead == other == tuple(range(batch))
    assert left == tuple(range(ndim - len(left), ndim)) and right == tuple(range(batch, batch + len(right)))


@pytest.mark.parametrize("equation", ["km,kn->mn", "mk,nk->mn", "km,nk->mn", "tkm,tkn->mn"])
def test_what_xla_multiplies_has_the_type_that_it_has_without_a_transpose(equation):
    """A transpose that XLA folds into a product makes it one of float32: several times slower, and nothing tells."""

    def multiplied(equation, *shapes):
        f = jax.jit(bfloat16_products(lambda x, y: jnp.einsum(equation, x, y)))
        text = f.lower(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).compile().as_text()
        (product,) = re.findall(r" dot\((.*?)\)", text)
        names = re.findall(r"%[\w.-]+", product)
        return [re.search(rf"{re.escape(name)} = (\w+)\[", text)[1] for name in names]

    sizes = dict(t=4, m=64, k=96, n=128)
    left, right = equation.partition("->")[0].split(",")
    shapes = [tuple(sizes[axis] for axis in side) for side in (left, right)]
    assert multiplied(equation, *shapes) == multiplied("mk,kn->mn", (64, 96), (96, 128))


def test_elsewhere_the_result_is_the_same(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x, y = grid(0, 7, 4), grid(1, 5, 7)
    f = bfloat16_products(lambda x, y: jnp.einsum("km,nk->mn", x, y))
    np.testing.assert_array_equal(f(x, y), rounded(x).T @ rounded(y).T)


def test_products_of_other_types_are_left_alone():
    whole = jnp.arange(6).reshape(2, 3)
    assert kinds(bfloat16_products(jnp.matmul), whole, whole.T) == [("int32", "int32", "int32")]
    with jax.enable_x64(True):
        wide = jnp.ones((2, 2), jnp.float64) / 3
        assert kinds(bfloat16_products(jnp.matmul), wide, wide) == [("float64", "float64", "float64")]
        np.testing.assert_array_equal(bfloat16_products(jnp.matmul)(wide, wide), wide @ wide)


# Programs: each is written over a product, so that the same program can be run with products cast by hand.


def in_a_scan(dot: Product, x: Array, w: Array) -> Any:
    return lax.scan(lambda h, x: (h := jnp.tanh(x + dot(h, w)), dot(h, w).sum()), x[0], x, reverse=True)


def in_a_while_loop(dot: Product, x: Array, w: Array) -> Any:
    more = lambda now: (dot(now[1], w).sum() < 1e3) & (now[0] < 5)  # noqa: E731
    return lax.while_loop(more, lambda now: (now[0] + 1, jnp.tanh(dot(now[1], w))), (jnp.int32(0), x[0]))


def in_a_conditional(dot: Product, x: Array, w: Array) -> Any:
    branches = [lambda x: x, lambda x: dot(x, w), lambda x: dot(jnp.sin(x), w)]
    return [lax.switch(i, branches, x) for i in range(3)], lax.cond(x[0, 0, 0] < 9, branches[1], branches[2], x)


def in_calls(dot: Product, x: Array, w: Array) -> Any:
    once = jax.jit(lambda x: dot(x, w))
    return once(once(x)), jax.checkpoint(once)(x), jax.nn.logsumexp(dot(jax.nn.relu(dot(x, w)), w), -1)


def in_custom_rules(dot: Product, x: Array, w: Array) -> Any:
    forward, backward = jax.custom_jvp(lambda x: dot(x, w)), jax.custom_vjp(lambda x: dot(x, w))
    forward.defjvp(lambda x, t: (x[0], t[0]))
    backward.defvjp(lambda x: (x, None), lambda _, t: (t,))
    return forward(x), backward(x)


def in_loops_in_loops(dot: Product, x: Array, w: Array) -> Any:
    def inner(h: Array, x: Array) -> tuple[Array, Array]:
        return lax.cond(h.sum() > 0, lambda h: jnp.tanh(dot(h, w.T)), lambda h: h - 1, h + x), h

    return lax.scan(lambda h, x: (lax.scan(inner, h + dot(h, w), jnp.stack([x, -x]))[0], h), x[0], x)


def in_our_scan(dot: Product, x: Array, w: Array) -> Any:
    return scan(lambda h, x: ((h := jnp.tanh(dot(x, w) + dot(h, w))), h), x[0], x)


PROGRAMS = [in_a_scan, in_a_while_loop, in_a_conditional, in_calls, in_custom_rules, in_loops_in_loops, in_our_scan]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_computes_what_casting_by_hand_gives(program):
    x, w = normal(0, 3, 2, 4), normal(1, 4, 4)
    f = bfloat16_products(lambda x, w: program(jnp.matmul, x, w))
    assert set(kinds(f, x, w)) == {("bfloat16", "bfloat16", "float32")}
    wanted = jax.jit(lambda x, w: program(by_hand, x, w))(x, w)
    found = jax.jit(f)(x, w)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    assert bits(found) == bits(wanted)
    assert bits(found) != bits(jax.jit(lambda x, w: program(jnp.matmul, x, w))(x, w))


@pytest.mark.parametrize("program", [in_a_scan, in_a_conditional, in_calls, in_loops_in_loops, in_our_scan])
def test_a_gradient_keeps_float32_and_only_its_products_do_not(program):
    def loss(x: Array, w: Array) -> Array:
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(program(jnp.matmul, x, w)))  # pyright: ignore

    args = normal(0, 3, 2, 4), normal(1, 4, 4) / 2
    gradient = jax.grad(loss, argnums=(0, 1))
    f = bfloat16_products(gradient)
    assert set(kinds(f, *args)) == {("bfloat16", "bfloat16", "float32")}
    for found, wanted in zip(jax.jit(f)(*args), gradient(*args), strict=True):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, wanted, atol=0.05 * float(jnp.abs(wanted).max()))
        assert np.any(found != wanted)


# Models.


def batch(seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    source, target = rng.integers(4, 10, (5, 3)).astype(np.int32), rng.integers(4, 12, (4, 3)).astype(np.int32)
    lengths, mask = np.array([5, 3, 2], np.int32), np.ones((4, 3), np.float32)
    return Batch(source, lengths, np.concatenate([np.full((1, 3), 2, np.int32), target[:-1]]), target, mask)


@module
class Cell:
    w: Array
    u: Array

    def initial_state(self, batch: int) -> Array:
        return jnp.zeros((batch, 4))

    def step(self, h: Array, x: Array) -> tuple[Array, Array]:
        h = jnp.tanh(x @ self.w + h @ self.u)
        return h, h


def gradient_of_a_model(attention: str = "general") -> tuple[Callable[..., Any], Any]:
    config = EncoderDecoderConfig(hidden=6, embedding=4, attention=attention, cell=GRU)  # pyright: ignore
    model = EncoderDecoder.init(jax.random.key(0), 10, 12, config)
    return jax.grad(lambda m, batch, key: m.loss(batch, key).mean), (model, batch(), jax.random.key(1))


def gradient_of_a_cell() -> tuple[Callable[..., Any], Any]:
    cell, xs = Cell(w=normal(0, 3, 4), u=normal(1, 4, 4)), normal(2, 5, 2, 3)
    return jax.grad(lambda cell, xs: (unroll(cell, xs, jnp.array([5, 3]))[1] ** 2).sum()), (cell, xs)


@pytest.mark.parametrize("made", [gradient_of_a_model, lambda: gradient_of_a_model("additive"), gradient_of_a_cell])
def test_the_gradient_of_a_model(made):
    gradient, args = made()
    f = bfloat16_products(gradient)
    assert set(kinds(f, *args)) == {("bfloat16", "bfloat16", "float32")}
    if made not in (gradient_of_a_model, gradient_of_a_cell):
        return  # compiling is what takes time
    jax.config.update("jax_disable_most_optimizations", True)  # until the test ends
    found, wanted = jax.jit(f)(*args), jax.jit(gradient)(*args)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, atol=0.03 * float(jnp.abs(b).max()) + 1e-6)


@pytest.mark.parametrize("made", [gradient_of_a_model, gradient_of_a_cell])
@pytest.mark.parametrize("step_by_step", [False, True])
def test_what_stays_the_same_in_a_loop_is_cast_before_it(made, step_by_step, monkeypatch):
    """Forward and backward, with our gradient of scan and with JAX's own."""
    if step_by_step:
        for place in ("nn.recurrent", "models.encoder_decoder"):
            monkeypatch.setattr(f"seq2seq.{place}.scan", lax.scan)
    gradient, args = made()
    scans = named(bfloat16_products(gradient), args, "scan")
    weights = 0
    for e in scans:
        body = e.params["jaxpr"].jaxpr
        untimed, carried = (
            sum(a.aval.shape == b.aval.shape for a, b in zip(inner, outer, strict=True))
            for inner, outer in ((body.invars, e.invars), (body.outvars, e.outvars))
        )
        constant = set(body.invars[: untimed - carried])
        cast = [
            c for c in body.eqns if c.primitive.name == "convert_element_type" and c.params["new_dtype"] == BFLOAT16
        ]
        assert constant.isdisjoint(v for c in cast for v in c.invars)
        weights += sum(v.aval.dtype == BFLOAT16 for v in constant)
    assert weights >= 2  # forward and backward


# The function around it.


class Result(NamedTuple):
    total: Array
    parts: dict[str, Array | None]


def test_arguments_and_results_are_any_trees():
    def f(x: dict[str, Array], *, w: Array) -> Result:
        return Result(x["a"] @ w, {"b": x["b"], "none": None})

    x, w = {"b": jnp.arange(3), "a": grid(0, 2, 3)}, grid(1, 3, 2)
    found = jax.jit(bfloat16_products(f))(x, w=w)
    assert isinstance(found, Result) and found.parts["none"] is None and found.parts["b"].dtype == jnp.int32
    np.testing.assert_array_equal(
        found.total, x["a"].astype(BFLOAT16).astype(np.float32) @ w.astype(BFLOAT16).astype(np.float32)
    )


def test_it_may_be_mapped():
    x, w = grid(0, 3, 2, 4), grid(1, 4, 4)
    f = bfloat16_products(lambda x: lax.scan(lambda h, _: (h @ w / 16, None), x, length=2)[0])
    np.testing.assert_array_equal(jax.vmap(f)(x), jnp.stack([f(row) for row in x]))


def test_random_keys_and_what_is_computed_again():
    def drop(x: Array, key: Array) -> Array:
        return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), jnp.sin(x) @ x, 0).sum()

    x, key = normal(0, 3, 3), jax.random.key(3)
    kept, again = (bfloat16_products(jax.value_and_grad(f)) for f in (drop, jax.checkpoint(drop)))
    np.testing.assert_allclose(jax.jit(again)(x, key)[1], jax.grad(drop)(x, key), atol=0.05)
    # Were what is computed again merged with what was computed before, there would be one.
    sines = [jax.jit(f).lower(x, key).compile().as_text().count(" sine(") for f in (kept, again)]
    assert sines == [1, 2]


def test_side_effects_stay(capfd):
    def f(x: Array) -> Array:
        def step(h: Array, _: None) -> tuple[Array, None]:
            jax.debug.print("step {}", h[0, 0], ordered=True)
            return h @ h, None

        return lax.scan(step, x, length=2)[0]

    jax.block_until_ready(bfloat16_products(f)(jnp.eye(2)))
    jax.effects_barrier()
    assert capfd.readouterr().out.count("step 1.0") == 2


# auto.


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 sse\n", "bfloat16"),
        ("processor: 0\nflags : amx_bf16\n", "bfloat16"),
        ("Features\t: fp asimd bf16\n", "bfloat16"),
        ("flags\t\t: fpu avx512f avx2\n", "float32"),
        ("", "float32"),
        (None, "float32"),
    ],
)
def test_auto_is_what_the_processor_has(told, wanted, tmp_path, monkeypatch):
    if told is not None:
        (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(precision_module, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert resolve("auto") == wanted
    assert (resolve("float32"), resolve("bfloat16")) == ("float32", "bfloat16")


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
def test_auto_is_bfloat16_on_an_accelerator(backend, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert resolve("auto") == "bfloat16"


def test_there_is_no_such_precision():
    with pytest.raises(ConfigError, match="did you mean bfloat16"):
        resolve("bfloat")  # pyright: ignore[reportArgumentType]
    x = grid(0, 2, 2)
    assert bits(in_precision(jnp.matmul, "bfloat16")(x, x)) == bits(bfloat16_products(jnp.matmul)(x, x))
