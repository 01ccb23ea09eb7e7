"""Packed rows: every example once, whole and in a segment of its own; weights are its responses'."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.posttraining.data import packing
from experiments.posttraining.data.examples import Examples, RaggedColumn
from experiments.posttraining.data.packing import first_fit, pack

EXAMPLE = st.lists(st.tuples(st.integers(3, 99), st.booleans()), min_size=1, max_size=9)


def examples_of(pairs):
    """Examples from lists of (token, whether the assistant says it)."""
    offsets = np.cumsum([0, *map(len, pairs)])
    flat = [pair for example in pairs for pair in example]
    tokens = np.array([token for token, _ in flat], np.int32)
    mask = np.array([said for _, said in flat], np.uint8)
    return Examples({"tokens": RaggedColumn(tokens, offsets), "mask": RaggedColumn(mask, offsets)}, {})


def segments_of(batch):
    """(tokens, weights) of each segment, padding checked to be nothing."""
    found = []
    for tokens, segments, weights in zip(batch["tokens"], batch["segments"], batch["weights"]):
        for segment in range(1, segments.max() + 1):
            inside = segments == segment
            found.append((tuple(tokens[inside].tolist()), tuple(weights[inside].tolist())))
        assert not tokens[segments == 0].any() and not weights[segments == 0].any()
        assert (np.diff(segments[segments > 0]) >= 0).all()
    return sorted(found)


@given(st.lists(EXAMPLE, min_size=1, max_size=8), st.integers(3, 12))
def test_every_example_is_in_one_segment(pairs, seq_len):
    cut = [example[: seq_len + 1] for example in pairs]
    kept = [example for example in cut if any(said for _, said in example[1:])]
    if not kept:
        with pytest.raises(ValueError, match=f"cut off the responses of all {len(pairs)} examples"):
            pack(examples_of(pairs), seq_len)
        return
    rows = pack(examples_of(pairs), seq_len)
    expected = [
        (tuple(t for t, _ in example), (0.0, *(float(said) for _, said in example[1:]))) for example in kept
    ]
    batch = rows.batch(np.arange(len(rows)))
    assert batch["tokens"].shape == (len(rows), seq_len + 1)
    assert segments_of(batch) == sorted(expected)
    assert rows.n_left_out == len(pairs) - len(kept)
    assert rows.n_truncated == sum(
        len(a) > seq_len + 1 and any(s for _, s in b[1:]) for a, b in zip(pairs, cut)
    )
    assert rows.n_tokens == (batch["segments"] > 0).sum()
    assert rows.n_weighted == batch["weights"].sum()
    assert {name: x.dtype for name, x in batch.items()} == {
        "tokens": np.int32,
        "segments": np.int32,
        "weights": np.float32,
    }


def test_by_example_each_weighs_one():
    one, two = [(5, False), (6, True)], [(7, False), (8, True), (9, True), (10, False), (11, True)]
    rows = pack(examples_of([one, two]), 9, weight_by="example")
    batch = rows.batch(np.array([0]))
    third = np.float32(1 / 3)
    assert batch["weights"].tolist() == [[0, 1, 0, third, third, 0, third, 0, 0, 0]]
    assert batch["segments"].tolist() == [[1, 1, 2, 2, 2, 2, 2, 0, 0, 0]]


def test_by_example_a_cut_example_still_weighs_one():
    rows = pack(examples_of([[(1, False), *[(2, True)] * 9]]), 4, weight_by="example")
    assert rows.batch(np.array([0]))["weights"].tolist() == [[0, 0.25, 0.25, 0.25, 0.25]]
    assert rows.n_truncated == 1


def test_a_row_of_padding_has_no_weight():
    rows = pack(examples_of([[(1, False), (2, True)]]), 3)
    batch = rows.batch(np.array([-1, 0]))
    assert not batch["segments"][0].any() and not batch["weights"][0].any()
    assert batch["tokens"][1].tolist() == [1, 2, 0, 0]


@given(st.lists(st.integers(1, 10), min_size=1, max_size=40))
def test_first_fit_is_what_its_name_says(lengths):
    room, expected = [], []
    for length in lengths:
        row = next((r for r, left in enumerate(room) if left >= length), len(room))
        room += [10] * (row == len(room))
        room[row] -= length
        expected.append(row)
    assert first_fit(np.array(lengths), 10).tolist() == expected


def test_packing_leaves_little_padding():
    lengths = np.random.default_rng(0).integers(10, 400, 3000)
    rows = first_fit(lengths, 1024)
    assert lengths.sum() / ((rows.max() + 1) * 1024) > 0.97


def test_what_was_packed_is_not_packed_again():
    """A command packs to count its steps, then to train."""
    pairs = [[(5, False), (6, True), (7, True)][: 2 + i % 2] for i in range(9)]
    one, before = pack(examples_of(pairs), 5), packing._first_fit.cache_info()
    other, after = pack(examples_of(pairs), 5), packing._first_fit.cache_info()
    np.testing.assert_array_equal(one.example_ids, other.example_ids)
    assert (after.hits, after.misses) == (before.hits + 1, before.misses)
    assert len(pack(examples_of(pairs), 8)) < len(one)
    assert packing._first_fit.cache_info().misses == after.misses + 1
