"""Batches: every window once an epoch, in an order that only seed and epoch decide."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.batches.windows import (
    batch,
    count_windows,
    epochs,
    permute,
    take_windows,
    validation_batches,
)

SEEDS = st.integers(0, 2**63)


@given(n=st.integers(1, 2000), seed=SEEDS, epoch=st.integers(0, 1000))
def test_permute_is_a_bijection(n, seed, epoch):
    image = permute(np.arange(n), n, seed, epoch)
    assert np.array_equal(np.sort(image), np.arange(n))


@given(n=st.integers(1, 10**12), seed=SEEDS, index=st.integers(0, 10**12))
def test_permute_of_one_index_needs_no_others(n, seed, index):
    pair = np.array([index % n, 0])
    assert permute(pair, n, seed, 0)[0] == permute(pair[:1], n, seed, 0)[0] < n


def test_permute_spreads_neighbours_evenly():
    n, bins = 10_000, 10
    images = np.array([permute(np.arange(200), n, seed, 0) for seed in range(500)])
    counts = np.bincount(images.ravel() * bins // n, minlength=bins)
    gaps = np.bincount((np.diff(images) % n).ravel() * bins // n, minlength=bins)
    for seen in (counts, gaps):  # chi-squared with 9 degrees of freedom; 33.7 is exceeded once in 10,000
        assert ((seen - seen.mean()) ** 2 / seen.mean()).sum() < 33.7


@given(
    n_tokens=st.integers(10, 400),
    seq_len=st.integers(1, 9),
    batch_size=st.integers(1, 40),
    seed=SEEDS,
    first=st.integers(0, 50),
)
def test_batch_takes_every_window_once_an_epoch(n_tokens, seq_len, batch_size, seed, first):
    tokens = np.arange(n_tokens, dtype=np.uint16)
    n_windows = count_windows(n_tokens, seq_len)
    steps = range(first, first + -(-3 * n_windows // batch_size) + 2)
    rows = np.concatenate([batch(tokens, seed, step, batch_size, seq_len) for step in steps])
    start = -(first * batch_size) % n_windows  # row at which an epoch begins
    for epoch in range(2):
        windows = rows[start + epoch * n_windows :][:n_windows]
        assert np.array_equal(np.sort(windows[:, 0]), np.arange(n_windows) * seq_len)
    assert np.array_equal(rows, rows[:, :1] + np.arange(seq_len + 1))  # each row is one stretch of the text


@given(seed=SEEDS, step=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 16), max_size=4))
def test_batch_is_the_same_however_hosts_share_it(seed, step, cuts):
    tokens = np.arange(1000, dtype=np.uint16)
    whole = batch(tokens, seed, step, 16, 8)
    edges = [0, *sorted(cuts), 16]
    parts = [batch(tokens, seed, step, 16, 8, rows=slice(a, b)) for a, b in itertools.pairwise(edges)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_batch_order_differs_between_seeds_and_epochs():
    tokens, n_windows = np.arange(4001, dtype=np.uint16), 1000
    orders = [batch(tokens, seed, step, n_windows, 4)[:, 0] for seed in (0, 1) for step in (0, 1)]
    for i, one in enumerate(orders):
        for other in orders[:i]:
            assert (one == other).mean() < 0.02  # about one fixed point expected


def test_batch_is_int32_of_targets_and_inputs():
    tokens = np.arange(100, dtype=np.uint32)
    made = batch(tokens, 0, 0, 3, 7)
    assert made.dtype == np.int32 and made.shape == (3, 8)
    assert np.array_equal(made[:, 1:-1], made[:, :-2] + 1)


def test_windows_keep_the_order_of_the_text():
    assert np.array_equal(take_windows(np.arange(10), np.array([0, 2]), 3), [[0, 1, 2, 3], [6, 7, 8, 9]])


def test_validation_reads_the_leading_rows_in_whole_batches():
    tokens = np.arange(80, dtype=np.uint16)
    rows = np.arange(6)[:, None] * 10 + np.arange(11)
    made = validation_batches(tokens, batch_size=4, seq_len=10, n_val_tokens=10**6)  # 7 rows
    assert len(made) == 1 and made[0].dtype == np.int32 and np.array_equal(made[0], rows[:4])
    made = validation_batches(tokens, batch_size=3, seq_len=10, n_val_tokens=69)  # 6 rows
    assert np.array_equal(np.concatenate(made), rows) and len(made) == 2
    assert np.array_equal(validation_batches(tokens, 64, 10, 20), [rows[:2]])  # fewer than a batch
    with pytest.raises(ValueError, match=r"n_val_tokens=19 of 80 .* 1 rows of seq_len=10; .* needs two"):
        validation_batches(tokens, 4, 10, 19)


def test_count_windows_says_what_is_too_short():
    assert count_windows(9, 8) == 1 and count_windows(16, 8) == 1 and count_windows(17, 8) == 2
    with pytest.raises(ValueError, match=r"8 tokens.*window of seq_len \+ 1 = 9"):
        batch(np.zeros(8, np.uint16), 0, 0, 1, 8)


def test_epochs_counts_predicted_tokens():
    assert epochs(n_tokens=1001, n_trained=2500, seq_len=100) == 2.5


def test_batch_of_a_tiny_run_takes_less_than_a_millisecond():
    tokens = np.zeros(20_000_000, np.uint16)

    def seconds(repeats: int) -> float:
        start = time.perf_counter()
        for step in range(repeats):
            batch(tokens, 0, step, 4, 128)
        return (time.perf_counter() - start) / repeats

    assert min(seconds(50) for _ in range(5)) < 1e-3  # 50 us on a quiet machine
