"""The critical batch: the trade-off of steps and tokens, its fit, and rates by batch."""

import numpy as np
import pytest

from scaling.hparams.critical_batch import (
    adam_lr,
    fit_critical_batch,
    kaplan,
    law_of,
    sgd_lr,
    tokens_to_loss,
    trade_off,
)

BATCHES = 2.0 ** np.arange(16, 24)


def test_the_trade_off_is_the_hyperbola_of_the_paper():
    steps, tokens = trade_off(BATCHES, 1e6, 2e3)
    assert (steps / 2e3 - 1) * (tokens / (2e3 * 1e6) - 1) == pytest.approx(1)
    assert tokens == pytest.approx(steps * BATCHES)
    at_critical = trade_off(1e6, 1e6, 2e3)
    assert at_critical == pytest.approx((4e3, 4e9))  # twice the least of both


def test_a_planted_critical_batch_is_found_with_its_interval():
    rng, held = np.random.default_rng(0), []
    for _ in range(200):
        _, tokens = trade_off(BATCHES, 8e5, 3e3)
        found = fit_critical_batch(BATCHES, tokens * np.exp(0.05 * rng.standard_normal(len(BATCHES))))
        held.append(found.lo < 8e5 < found.hi)
    assert found.batch_tokens == pytest.approx(8e5, rel=0.4)
    assert found.least_tokens == pytest.approx(found.batch_tokens * found.least_steps)
    assert 0.8 < np.mean(held) < 0.98


def test_small_batches_that_need_more_tokens_are_left_out():
    _, tokens = trade_off(BATCHES, 8e5, 3e3)
    tokens[:2] *= [3.0, 1.5]
    assert fit_critical_batch(BATCHES, tokens).batch_tokens == pytest.approx(8e5, rel=0.02)


def test_batches_all_below_the_critical_one_bound_it_from_below_only():
    _, tokens = trade_off(BATCHES, 1e12, 1.0)
    found = fit_critical_batch(BATCHES, tokens * (1 + 0.01 * (np.arange(8) % 2)))
    assert found.hi == np.inf and found.lo > BATCHES[-1]


def test_few_batches_are_refused():
    with pytest.raises(ValueError, match="2 batches from the best upwards"):
        fit_critical_batch([1e5, 2e5, 4e5], [2e9, 1e9, 1.5e9])
    with pytest.raises(ValueError, match="0 batches"):
        fit_critical_batch([], [])


def test_tokens_to_a_loss_are_read_between_runs_of_different_length():
    """L = 2 (D / 1e9)^-0.1 at the best of two rates; the largest batch never gets there."""
    lengths = np.array([5e8, 1e9, 2e9])
    batch = np.repeat([1e5, 2e5, 4e5], 6)
    tokens = np.tile(np.repeat(lengths, 2), 3)
    loss = 2 * (tokens / 1e9) ** -0.1 * np.tile([1.0, 1.05], 9) * np.repeat([1.0, 1.01, 1.5], 6)
    loss[1] = np.nan
    batches, needed = tokens_to_loss(batch, tokens, loss, target=2 * 1.2**-0.1)
    assert list(batches) == [1e5, 2e5]
    assert needed == pytest.approx([1.2e9, 1.2e9 * 1.01**10])


def test_laws_of_the_critical_batch():
    tokens = np.array([1e9, 3e9, 1e10, 3e10])
    law = law_of(tokens, 20 * tokens**0.47 * np.array([1.02, 0.98, 0.99, 1.01]))
    assert law.exponent == pytest.approx(0.47, abs=0.02) and law.lo < 0.47 < law.hi
    assert kaplan(1.0) == 2e8 and law_of([2, 3, 4], kaplan([2, 3, 4])).exponent == pytest.approx(-1 / 0.21)
    with pytest.raises(ValueError, match="2 critical batches"):
        law_of([1, 2], [1, 2])


def test_rates_by_batch_go_as_their_papers_say():
    assert sgd_lr(1.0, 1e6) / sgd_lr(0.5, 1e6) == pytest.approx(2, rel=1e-5)  # linear far below
    assert sgd_lr(1e12, 1e6) == pytest.approx(1, rel=1e-5)
    assert adam_lr(1.0, 1e6) / adam_lr(0.25, 1e6) == pytest.approx(2, rel=1e-5)  # square root far below
    assert adam_lr(1e6, 1e6) == 1
    assert adam_lr(np.array([0.5e6, 2e6]), 1e6) == pytest.approx(2 / (2**0.5 + 0.5**0.5))
