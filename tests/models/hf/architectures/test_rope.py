"""Rotary positions in a config.json: what is written is read again, in both spellings; what is refused."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from models import RopeScaling
from models.hf.architectures.rope import rope_from_json, rope_to_json
from models.hf.fields import Fields

factors, lengths = st.floats(1, 1e3), st.integers(1, 10**6)
scalings = (
    st.none()
    | st.builds(RopeScaling, st.just("linear"), factors)
    | st.builds(
        RopeScaling,
        st.just("llama3"),
        factors,
        lengths,
        low_freq_factor=st.floats(0.5, 2),
        high_freq_factor=st.floats(3, 8),
    )
    | st.builds(
        RopeScaling,
        st.just("yarn"),
        factors,
        lengths,
        beta_fast=st.floats(16, 64),
        beta_slow=st.floats(0.5, 2),
        attention_factor=st.just(0.0) | st.floats(0.1, 4),
        truncate=st.booleans(),
    )
)


def read(fields: dict, max_len: int = 64, **default) -> tuple[float, RopeScaling | None]:
    left = Fields(fields)
    found = rope_from_json(left, max_len, **default)
    left.done()
    return found


@given(st.floats(10, 1e7), scalings)
def test_what_is_written_is_read_again_in_every_spelling(theta, scaling):
    """Of version 4, of its beginnings (`type`), and of version 5."""
    written = rope_to_json(theta, scaling)
    assert read(written) == (theta, scaling)
    new = written["rope_scaling"] or {"rope_type": "default"}
    assert read({"rope_parameters": new | {"rope_theta": theta}}) == (theta, scaling)
    older = {"type" if name == "rope_type" else name: value for name, value in new.items()}
    assert read({"rope_theta": theta, "rope_scaling": older}) == (theta, scaling)


def test_what_a_file_does_not_say_is_the_architecture_s():
    assert read({}) == (10_000, None)
    assert read({"rope_scaling": None}, theta=1e6) == (1e6, None)
    llama3 = {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}
    assert read({"rope_scaling": llama3})[1] == RopeScaling("llama3", 8.0, 64)
    assert read({"rope_theta": 1e6, "rope_scaling": llama3, "rope_parameters": llama3})[0] == 1e6
    beside = {"rope_scaling": llama3, "original_max_position_embeddings": 16}
    assert read(beside)[1] == RopeScaling("llama3", 8.0, 16)
    yarn = {"rope_type": "yarn", "original_max_position_embeddings": 16}
    assert read({"rope_parameters": yarn})[1] == RopeScaling("yarn", 4.0, 16)  # 64 / 16


def test_deepseek_s_spelling_of_yarn_s_sharpening():
    yarn = {"rope_type": "yarn", "factor": 4.0, "mscale": 2.0, "mscale_all_dim": 1.0}
    _, scaling = read({"rope_parameters": yarn})
    assert scaling is not None and scaling.original_len == 64
    assert scaling.attention_factor == pytest.approx((0.2 * math.log(4) + 1) / (0.1 * math.log(4) + 1))
    assert read({"rope_parameters": yarn | {"mscale_all_dim": 0}})[1] == RopeScaling("yarn", 4.0, 64)
    _, scaling = read({"rope_parameters": yarn | {"attention_factor": 1.5}})
    assert scaling is not None and scaling.attention_factor == 1.5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
            "rope_type='dynamic' is not supported; allowed: 'd",
        ),
        ({"rope_scaling": {"type": "linear"}}, "rope parameters: factor is missing"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0, "shift": 1}}, "rope parameters: unknown shift=1"),
        ({"rope_scaling": {"type": "llama3", "factor": 2.0}}, "low_freq_factor is missing"),
        ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "factor=0.5; it must be at least 1"),
        ({"rope_parameters": {"rope_theta": 1e4, "beta_fast": 1}}, "unknown beta_fast=1"),
        ({"rope_parameters": {"partial_rotary_factor": 0.25}}, "partial_rotary_factor=0.25"),
        ({"partial_rotary_factor": 0.5}, "config.json: partial_rotary_factor=0.5"),
        ({"rope_scaling": "linear"}, "rope parameters: expected an object of fields, got 'linear'"),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"type": "default"}},
            "rope_scaling=.* and rope_parameters=.* differ; keep one",
        ),
        (
            {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}},
            "rope_theta=10000.0, and 1000000.0 among",
        ),
    ],
)
def test_what_we_do_not_have_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        read(fields)
