"""Mixed batches: every window once an epoch, whatever hosts read it; validation in equal parts."""

import numpy as np
import pytest

from experiments.data import batches
from experiments.data.batches.mixtures.mixed_batches import batch, validation_batches
from experiments.data.batches.mixtures.schedule import schedule

# Two components of 12 and 5 windows of 4 tokens; a token says where it is from.
PARTS = [np.arange(1000, 1049, dtype=np.uint16), np.arange(2000, 2021, dtype=np.uint16)]
PLAN = schedule(np.array([0.75, 0.25]))


def rows_of(steps, batch_size=8, seed=3, rows=slice(None)):
    return np.concatenate([batch(PARTS, PLAN, seed, step, batch_size, 4, rows) for step in steps])


def test_each_component_is_read_whole_and_once_an_epoch():
    found = rows_of(
        range(20)
    )  # 160 rows: 120 of the first, which is ten epochs, 40 of the second, which is eight
    for i, (part, n, epochs) in enumerate(zip(PARTS, (12, 5), (10, 8))):
        mine = found[found[:, 0] // 1000 == i + 1]
        assert len(mine) == n * epochs
        for epoch in np.split(mine, epochs):
            assert sorted(epoch[:, 0].tolist()) == part[:-1:4].tolist()
        assert (np.diff(mine, axis=1) == 1).all()  # windows stay within a component
        assert not np.array_equal(mine[:n], mine[n : 2 * n])  # each epoch has an order of its own


def test_hosts_read_parts_of_the_same_batch_and_the_batch_size_does_not_matter():
    whole = rows_of([7])
    parts = [rows_of([7], rows=slice(start, start + 2)) for start in range(0, 8, 2)]
    assert np.array_equal(whole, np.concatenate(parts))
    assert np.array_equal(rows_of(range(8), 8), rows_of(range(16), 4))
    assert not np.array_equal(whole, rows_of([7], seed=4))


def test_a_single_component_is_read_as_if_there_were_none():
    plan = schedule(np.array([1.0]))
    for step in (0, 5):
        expected = batches.batch(PARTS[0], 3, step, 8, 4)
        assert np.array_equal(batch(PARTS[:1], plan, 3, step, 8, 4), expected)


def test_validation_has_equally_many_rows_of_each_component_in_every_batch():
    made = validation_batches(PARTS, batch_size=5, seq_len=4, n_val_tokens=10**6)
    assert [part.shape for part in made] == [(4, 5), (4, 5)]  # of 5 rows each, whole batches of 2 and 2
    rows = np.concatenate(made)
    assert rows[:, 0].tolist() == [1000, 2000, 1004, 2004, 1008, 2008, 1012, 2012]
    assert len(validation_batches(PARTS, 1, 4, 10**6)) == 2  # two of each, for a standard error
    assert [len(part) for part in validation_batches(PARTS, 64, 4, 4 * 6)] == [6]
    with pytest.raises(
        ValueError, match=r"n_val_tokens=12 in rows of seq_len=4 are 1 of each of 2 components"
    ):
        validation_batches(PARTS, 4, 4, 12)
