"""The columns that the laws of whole curves read: by hand, against their definitions, and refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaling.laws import LAWS
from scaling.laws.law import values
from scaling.laws.training_curve.annealing import annealing_columns
from scaling.laws.training_curve.multi_power import multi_power_columns
from tests.scaling.planted_laws import PLANTED, STEPS, WARMUP, schedules

MEASURED = np.unique(np.geomspace(2 * WARMUP, STEPS, 30).astype(int))


@pytest.mark.parametrize(
    "lr, lr_sum, s2",
    [
        ([1, 2, 2, 1], [1, 3, 5, 6], [0, 0, 0, 1]),  # the rise of the warmup is no annealing
        ([2, 1, 1, 0], [2, 3, 4, 4], [0, 1, 1.5, 2.75]),  # with momentum 0.5 a fall of 1 is felt as 1, 0.5, …
        ([2, 1, 2, 2], [2, 3, 5, 7], [0, 1, 0.5, 0.25]),  # a second warmup takes back what the fall gave
        ([3, 3, 3, 3], [3, 6, 9, 12], [0, 0, 0, 0]),
    ],
)
def test_areas_by_hand(lr, lr_sum, s2):
    table = annealing_columns(np.array(lr), np.array([1, 2, 3, 4]), momentum=0.5)
    assert list(table["lr_sum"]) == lr_sum
    assert list(table["lr_sum"] * table["annealed"]) == pytest.approx(s2)


@settings(max_examples=50)
@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=30), st.floats(0, 0.999))
def test_the_annealing_area_is_its_double_sum(lr, momentum):
    lr = np.sort(lr)[::-1]  # no warmup
    table = annealing_columns(lr, np.array([len(lr)]), momentum)
    area = sum((lr[k - 1] - lr[k]) * momentum ** (i - k) for i in range(len(lr)) for k in range(1, i + 1))
    assert table["lr_sum"][0] * table["annealed"][0] == pytest.approx(area)


def each_fall(theta, lr, step):
    """The multi-power law as the paper writes it, every fall of the rate by itself."""
    L0, A, B, C, alpha, beta, gamma = theta
    total, falls = np.cumsum(lr), np.arange(lr.argmax() + 1, step)
    since = total[step - 1] - total[falls - 1]
    gained = 1 - (1 + C * lr[falls] ** -gamma * since) ** -beta
    return L0 + A * total[step - 1] ** -alpha - B * ((lr[falls - 1] - lr[falls]) * gained).sum()


@pytest.mark.parametrize("shape", schedules())
def test_grouped_falls_tell_what_all_falls_tell(shape):
    theta, lr = PLANTED["multi_power"][0], schedules()[shape]
    table = multi_power_columns(lr, MEASURED)
    predicted = values(LAWS["multi_power"], np.array([theta]), {c: table[c].to_numpy() for c in table})[0]
    assert predicted == pytest.approx([each_fall(theta, lr, step) for step in MEASURED], abs=1e-4)


def test_a_rate_that_ends_at_zero_is_finite():
    lr = np.concatenate([np.ones(50), np.linspace(1, 0, 50), np.zeros(5)])
    table = multi_power_columns(lr, np.array([40, 99, 100, 105]))
    predicted = values(
        LAWS["multi_power"], np.array([PLANTED["multi_power"][0]]), {c: table[c].to_numpy() for c in table}
    )
    assert np.isfinite(table).all(axis=None) and np.isfinite(predicted).all()


@pytest.mark.parametrize("columns", [annealing_columns, multi_power_columns])
@pytest.mark.parametrize(
    "lr, steps, words",
    [
        ([1, -1], [1], "none negative"),
        ([1, np.nan], [1], "finite"),
        ([0, 0], [1], "one positive"),
        ([0, 1], [1], "nothing was learnt"),
        ([1, 1], [3], "step 3: steps must be whole numbers from 1 to 2"),
        ([1, 1], [0], "step 0"),
        ([1, 1], [1.5], "step 1.5"),
    ],
)
def test_wrong_schedules_are_refused(columns, lr, steps, words):
    with pytest.raises(ValueError, match=words):
        columns(np.array(lr, float), np.array(steps))


def test_a_second_warmup_is_refused_by_the_law_that_cannot_have_it():
    with pytest.raises(ValueError, match="rises again at update 4"):
        multi_power_columns(np.array([1, 2, 1, 2.0]), np.array([4]))
