"""Where the arrays of a program lie on a mesh, and what of them a device has, counted by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from experiments.training.memory.jaxpr_memory import peak_bytes
from experiments.training.memory.layouts import of_results
from models.sharding import abstract_mesh, constrain, on_mesh

MESH = abstract_mesh({"fsdp": 4, "tensor": 2})
ROWS = jax.ShapeDtypeStruct((8, 6, 16), jnp.float32)


def layout_after(f, *operands) -> tuple[int, ...]:
    """Of the last equation's first result; operands are shapes and their layouts."""
    shapes, at = zip(*operands)
    (equation,) = jax.make_jaxpr(f)(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).eqns
    return of_results(equation, at)[0]


@pytest.mark.parametrize(
    "f, operands, expected",
    [
        (lambda x: x.T, [((8, 4), (4, 1))], (1, 4)),
        (lambda x: x.sum(axis=1), [((8, 4, 2), (4, 1, 2))], (4, 2)),
        (lambda x: x.reshape(32, 2), [((8, 4, 2), (4, 1, 1))], (4, 1)),
        (lambda x: x.reshape(4, 2, 6), [((8, 6), (4, 1))], (4, 1, 1)),
        (lambda x: x.reshape(8, 6), [((8, 2, 3), (4, 2, 1))], (4, 2)),
        (lambda x: jnp.broadcast_to(x, (3, 8)), [((8,), (4,))], (1, 4)),
        # Summed over what is spread, nothing of it is left; rows stay, and so do columns.
        (lambda x, y: jax.lax.dot(x, y), [((8, 6), (4, 1)), ((6, 2), (1, 2))], (4, 2)),
        (lambda x, y: jax.lax.dot(x, y), [((6, 8), (1, 4)), ((8, 2), (4, 1))], (1, 1)),
        (lambda x, y: x + y, [((8, 6), (1, 1)), ((8, 6), (4, 1))], (4, 1)),
    ],
)
def test_results_lie_as_what_they_are_made_of(f, operands, expected):
    assert layout_after(f, *operands) == expected


def test_a_lookup_lies_as_its_indices_and_as_the_rows_looked_up():
    def f(table, i):
        return table.at[i].get(mode="promise_in_bounds")

    table, i = jax.ShapeDtypeStruct((9, 16), jnp.float32), jax.ShapeDtypeStruct((8, 6), jnp.int32)
    *_, equation = jax.make_jaxpr(f)(table, i).eqns
    assert equation.primitive.name == "gather"
    assert of_results(equation, [(1, 2), (4, 1, 1)]) == [(4, 1, 2)]


def peak(f, *arguments) -> int:
    jaxpr = jax.make_jaxpr(on_mesh(f, MESH))(*(x for x, _ in arguments)).jaxpr
    return peak_bytes(jaxpr, [at for _, at in arguments])


def test_a_device_has_its_rows_of_a_product_and_its_columns():
    w = jax.ShapeDtypeStruct((16, 10), jnp.float32)
    assert peak(lambda x, w: x @ w, (ROWS, (4, 1, 1)), (w, (1, 2))) == 4 * (8 * 6 * 10) // 8


def test_a_weight_that_is_collected_is_whole_until_it_is_read():
    w = jax.ShapeDtypeStruct((16, 10), jnp.float32)

    def f(x, w):
        return x @ constrain(w, None, None)

    assert peak(f, (ROWS, (4, 1, 1)), (w, (4, 1))) == 4 * (16 * 10 + 8 * 6 * 10 // 4)


def test_by_hand_it_is_the_same():
    w = jax.ShapeDtypeStruct((16, 10), jnp.float32)

    def f(x, w):
        def collect(w):
            return jax.lax.all_gather(w, "fsdp", axis=0, tiled=True)

        return x @ jax.shard_map(collect, in_specs=P("fsdp"), out_specs=P(), check_vma=False)(w)

    assert peak(f, (ROWS, (4, 1, 1)), (w, (4, 1))) == 4 * (16 * 10 + 8 * 6 * 10 // 4)


def test_what_a_loop_stacks_lies_as_what_it_makes():
    w = jax.ShapeDtypeStruct((3, 16, 16), jnp.float32)

    def f(x, w_L):
        return jax.lax.scan(lambda x, w: (x @ w, x), x, w_L)

    # The carry and three stacked, and in a round its product, of a quarter of the rows; and a slice of w.
    assert peak(f, (ROWS, (4, 1, 1)), (w, (1, 1, 1))) == 4 * (5 * 8 * 6 * 16 // 4 + 16 * 16)
