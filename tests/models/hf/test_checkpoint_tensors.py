"""Tensors of a checkpoint and slices of our arrays: every slice once, and what does not fit is named."""

import re

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from safetensors.numpy import save_file

from models.hf.checkpoint_tensors import flat, match, nested, tensors_of
from models.hf.entry import Entry, linear, same
from models.hf.files import Tensors

LAYERED = linear("h.{layer}.up", "up", (3,), (2, 4))
EXPERTS = same("h.{layer}.{expert}.w", "experts")
FUSED = Entry(
    "h.{layer}.kv",
    ("k", "v"),
    lambda theirs: tuple(np.split(theirs, 2)),
    lambda k, v: np.concatenate([k, v]),
    1,
)
SHAPES = {"table": (7, 3), "up": (2, 3, 2, 4), "experts": (2, 3, 5), "k": (3, 4), "v": (3, 4)}


def test_every_slice_of_our_arrays_has_a_tensor():
    found = [
        (slot.name, slot.shape, slot.index) for slot in tensors_of([same("wte", "table"), LAYERED], SHAPES)
    ]
    assert found == [("wte", (7, 3), ()), ("h.0.up", (8, 3), (0,)), ("h.1.up", (8, 3), (1,))]
    found = [(slot.name, slot.shape, slot.index) for slot in tensors_of([EXPERTS], SHAPES)]
    assert found == [(f"h.{layer}.{e}.w", (5,), (layer, e)) for layer in range(2) for e in range(3)]


def test_layers_before_the_first_that_has_a_tensor_are_passed_over():
    found = [(slot.name, slot.shape, slot.index) for slot in tensors_of([FUSED], SHAPES)]
    assert found == [("h.1.kv", (8,), (1,)), ("h.2.kv", (8,), (2,))]


@pytest.fixture
def matched(tmp_path):
    """What `match` finds for LAYERED and a table in a checkpoint of tensors with these shapes."""

    def find(**shapes: tuple[int, ...]) -> dict[str, str]:
        tensors = {name.replace("__", "."): np.zeros(shape, np.float32) for name, shape in shapes.items()}
        save_file(tensors, tmp_path / "model.safetensors")
        wanted = [same("transformer.wte.weight", "table"), LAYERED]
        found = match(list(tensors_of(wanted, SHAPES)), Tensors(tmp_path))
        return {name: slot.name for name, slot in found.items()}

    return find


GOOD = {"h__0__up": (8, 3), "h__1__up": (8, 3), "transformer__wte__weight": (7, 3)}


def test_a_checkpoint_may_leave_out_its_prefix_and_hold_what_is_known(matched):
    names = {"h.0.up": "h.0.up", "h.1.up": "h.1.up", "transformer.wte.weight": "transformer.wte.weight"}
    assert matched(**GOOD) == names
    extras = {"lm_head__weight": (9, 9), "h__0__attn__bias": (1,), "model__rotary_emb__inv_freq": (2,)}
    assert matched(**GOOD, **extras) == names
    bare = GOOD | {"wte__weight": GOOD["transformer__wte__weight"]}
    del bare["transformer__wte__weight"]
    assert matched(**bare)["wte.weight"] == "transformer.wte.weight"


def test_what_does_not_fit_is_named_the_first_three_in_full(matched, tmp_path):
    with pytest.raises(ValueError) as error:
        matched(h__1__up=(3, 8), h__2__up=(8, 3), lm_head__weight2=(1,), up=(2,))
    file = f"{tmp_path}/model.safetensors"
    assert str(error.value) == (
        f"{tmp_path}: transformer.wte.weight is missing; expected shape (7, 3); "
        f"{tmp_path}: h.0.up is missing; expected shape (8, 3); "
        f"{file}: h.1.up has shape (3, 8); config.json asks for (8, 3) (and 3 more)"
    )
    for stranger in ("h__2__up", "lm_head__weight2", "xh__0__attn__bias", "encoder__lm_head__weight"):
        name = re.escape(stranger.replace("__", "."))
        with pytest.raises(ValueError, match=f"^{re.escape(file)}: {name} of shape \\(4,\\) is left over"):
            matched(**GOOD, **{stranger: (4,)})


trees = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.text("ab_", min_size=1), inner, min_size=1, max_size=3)
).filter(lambda tree: isinstance(tree, dict))


@given(trees)
def test_flat_and_nested_are_inverse(tree):
    leaves = flat(tree)
    assert nested(leaves) == tree
    for path, leaf in leaves.items():
        node = tree
        for name in path.split("/"):
            node = node[name]
        assert node is leaf
