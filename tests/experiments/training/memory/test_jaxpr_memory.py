"""Peak memory of traced programs, for programs whose arrays can be counted by hand."""

import jax
import jax.numpy as jnp

from experiments.training.memory.jaxpr_memory import peak_bytes

SQUARE = jax.ShapeDtypeStruct((100, 100), jnp.float32)
KB40 = 40_000  # of one such array


def peak(f, *arguments) -> int:
    return peak_bytes(jax.make_jaxpr(f)(*arguments).jaxpr)


def test_elementwise_work_between_products_takes_one_array():
    # The first product, then what the second one reads in its place, and the second product beside it.
    assert peak(lambda x, w: jnp.sin(jnp.cos(x @ w) + 1) @ w, SQUARE, SQUARE) == 2 * KB40


def test_results_of_elementwise_work_go_where_they_belong():
    assert peak(lambda x, w: x + w * 2, SQUARE, SQUARE) == 0


def test_what_is_read_again_later_is_kept_until_then():
    def f(x, w):
        first = x @ w
        second = first @ w
        third = second @ w
        return third @ first

    # When the third product is made it, the second and the first are there; and likewise at the end.
    assert peak(f, SQUARE, SQUARE) == 3 * KB40


def test_a_loop_holds_what_it_stacks_and_one_round():
    def f(x, w_L):
        return jax.lax.scan(lambda x, w: (x @ w, x), x, w_L)

    layers = jax.ShapeDtypeStruct((5, 100, 100), jnp.float32)
    # The carry and five stacked; inside a round its slice of the weights and the product.
    assert peak(f, SQUARE, layers) == (1 + 5 + 2) * KB40


def test_of_branches_the_one_that_holds_most_counts():
    def of(*branches):
        return peak(lambda x, w, i: jax.lax.switch(i, branches, x, w), SQUARE, SQUARE, jnp.int32(0))

    def small(x, w):
        return x @ w

    def large(x, w):
        first = x @ w
        return (first @ w) @ first

    assert of(small, small) < of(small, large) == of(large, small) == of(large, large)
    assert of(small, large) - of(small, small) == 2 * KB40


def test_what_several_read_is_made_once_in_the_place_of_what_it_is_made_from():
    def f(x):
        shared = jnp.sin(x)
        return shared + 1, shared * 2

    assert peak(f, SQUARE) == KB40
    assert peak(lambda x, w: f(x @ w), SQUARE, SQUARE) == KB40


def test_a_call_is_what_it_calls():
    def f(x, w):
        first = x @ w
        return (first @ w) @ first

    # When its last product is made, the two before are there; when what follows is made, only that one is.
    assert peak(lambda x, w: jax.jit(f)(x, w) @ w, SQUARE, SQUARE) == 3 * KB40


def test_half_the_bytes_a_number_are_half_the_memory():
    half = jax.ShapeDtypeStruct((100, 100), jnp.bfloat16)
    assert peak(lambda x, w: (x @ w) @ w, half, half) == 2 * KB40 // 2


def test_what_is_scattered_into_and_what_a_loop_carries_is_written_in_its_place():
    def scattered(x, i):
        return (x @ x).at[i].add(1.0)

    def looped(x):
        return jax.lax.fori_loop(0, x.shape[0], lambda i, y: y.at[i].add(1.0), x @ x)

    # Beside the product there are a few rows: what is added to them, or one of them.
    assert KB40 <= peak(scattered, SQUARE, jax.ShapeDtypeStruct((5,), jnp.int32)) < 1.1 * KB40
    assert KB40 <= peak(looped, SQUARE) < 1.1 * KB40


def test_what_can_be_made_again_from_less_is_not_kept_though_several_read_it():
    half = jax.ShapeDtypeStruct((100, 100), jnp.bfloat16)

    def f(x, w):
        wide = (x @ w).astype(jnp.float32)
        return jnp.exp(wide - wide.max()).sum()

    assert KB40 // 2 <= peak(f, half, half) < 1.01 * KB40 // 2


def test_a_mask_that_depends_on_nothing_is_made_where_a_loop_reads_it():
    def f(x, w_L):
        mask = jnp.tril(jnp.ones((100, 100), bool))
        return jax.lax.scan(lambda x, w: (jnp.where(mask, x @ w, 0.0), None), x, w_L)[0]

    layers = jax.ShapeDtypeStruct((5, 100, 100), jnp.float32)
    assert peak(f, SQUARE, layers) == (1 + 2) * KB40


def test_a_barrier_before_several_arrays_makes_none():
    def f(x, w):
        first, second = jax.lax.optimization_barrier((x @ w, x))
        return first @ second

    assert peak(f, SQUARE, SQUARE) == 2 * KB40
