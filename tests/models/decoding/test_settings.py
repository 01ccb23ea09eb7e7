"""Settings of sampling: what is refused, and that no value changes the shape of what is compiled."""

import re

import hypothesis.strategies as st
import jax
import numpy as np
import pytest
from hypothesis import given

from models.decoding.settings import COUNTS, LIMITS, POSITIVE, SamplingSettings


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_settings_out_of_range_are_refused_by_name(name):
    low, high, note = LIMITS[name]
    too_low = 0.0 if name in POSITIVE else np.nextafter(low, -np.inf)
    for value in (too_low, np.nan, np.nextafter(high, np.inf), np.inf):
        with pytest.raises(ValueError, match=f"{name}={re.escape(str(value))}; it must be .*{note}"):
            SamplingSettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("temperature", "at least 0 and at most 1e+30, and 0 is greedy"),
        ("top_p", "above 0 and at most 1, and 1 keeps"),
        ("top_k", "at least 0, and 0 keeps"),
        ("presence_penalty", "at least -1e+30 and at most 1e+30, and 0 is off"),
    ],
)
def test_what_is_refused_says_what_would_do(name, least):
    with pytest.raises(ValueError, match=f"{name}=nan; it must be {re.escape(least)}"):
        SamplingSettings(**{name: float("nan")})


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_is_a_whole_number(name):
    with pytest.raises(ValueError, match=f"{name}=2.5; it must be a whole number"):
        SamplingSettings(**{name: 2.5})
    assert SamplingSettings(**{name: 2.0}).arrays(4)[name] == 2


def test_a_bias_of_no_token_or_no_number_is_refused():
    for token in (-1, 4):
        with pytest.raises(ValueError, match=f"logit_bias of token {token}; the vocabulary is 0 to 3"):
            SamplingSettings(logit_bias=((token, 1.0),)).arrays(4)
    with pytest.raises(ValueError, match="logit_bias bans all 4 tokens"):
        SamplingSettings(logit_bias=tuple((token, -np.inf) for token in range(4))).arrays(4)
    for bias in (np.inf, np.nan):
        with pytest.raises(ValueError, match=r"logit_bias=.* of token 1"):
            SamplingSettings(logit_bias=((1, bias),))
    with pytest.raises(ValueError, match=r"sequence_bias of \(1, 4\); the vocabulary is 0 to 3"):
        SamplingSettings(sequence_bias=(((1, 4), 1.0),)).arrays(4)
    for tokens, bias in (((), 1.0), ((1,), np.nan), ((1,), np.inf)):
        with pytest.raises(ValueError, match=r"sequence_bias=.* of tokens .*; give one token at least"):
            SamplingSettings(sequence_bias=((tokens, bias),))


def allowed(name: str) -> st.SearchStrategy:
    low, high, _ = LIMITS[name]
    if name in COUNTS:
        return st.integers(int(low), 10**12)
    return st.floats(max(low, -1e9), min(high, 1e9), exclude_min=name in POSITIVE) | st.just(1)


@given(st.fixed_dictionaries({}, optional={name: allowed(name) for name in LIMITS}))
def test_all_values_have_the_same_types_and_shapes(values):
    """So a program compiled for one setting serves all; a count beyond int32 is the largest one."""

    def form(settings: SamplingSettings) -> dict:
        return jax.tree.map(lambda x: (x.dtype, x.shape), settings.arrays(7))

    assert form(SamplingSettings(**values)) == form(SamplingSettings(logit_bias=((3, -np.inf),)))
    found = SamplingSettings(**values).arrays(7)
    for name, value in values.items():
        assert found[name] == np.float32(value) or (name in COUNTS and found[name] == min(value, 2**31 - 1))
