"""Configurations as JSON and back: exact, and errors that name the field."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides, did_you_mean, from_json, number_of, to_json
from models import FAMILIES, MuP, RopeScaling, ladder

RUN = RunConfig(ladder(16, 259), DataConfig(), OptimizerConfig(1e-3), ScheduleConfig(), 512, 128, 10**6)


@given(
    lr=st.floats(1e-9, 1e9),
    seed=st.integers(0, 2**31),
    warmup=st.floats(0, 0.5),
    path=st.text(),
    d_model=st.sampled_from([8, 16, 64]),
)
def test_json_round_trip_is_exact_and_keeps_the_identity(lr, seed, warmup, path, d_model):
    run = dataclasses.replace(
        RUN,
        model=ladder(d_model, 259),
        optimizer=OptimizerConfig(lr),
        schedule=ScheduleConfig(warmup=warmup),
        data=DataConfig(path=path),
        seed=seed,
    )
    again = from_json(RunConfig, to_json(run))
    assert again == run and again.run_id == run.run_id


@pytest.mark.parametrize("family", FAMILIES)
def test_the_family_says_which_configuration_a_model_has(family):
    run = dataclasses.replace(RUN, model=ladder(16, 259, family))
    assert from_json(RunConfig, json.loads(json.dumps(to_json(run)))) == run
    with pytest.raises(ValueError, match=r"model.family='mlp'; allowed are 'transformer', 'moe'"):
        from_json(RunConfig, to_json(run) | {"model": to_json(run.model) | {"family": "mlp"}})


def test_optional_parts_of_a_model_come_back():
    model = ladder(16, 259, mup=MuP(8, 2, 8), rope_scaling=RopeScaling("llama3", 8.0, original_len=64))
    run = dataclasses.replace(RUN, model=model)
    assert from_json(RunConfig, json.loads(json.dumps(to_json(run)))) == run


def test_numbers_may_be_written_as_people_write_them():
    run = apply_overrides(RUN, ["n_tokens=2e6", "optimizer.lr=1", "data.task=files"])
    assert (run.n_tokens, run.optimizer.lr, run.data.task) == (2_000_000, 1.0, "files")
    assert apply_overrides(RUN, ["n_tokens=7.1M"]).n_tokens == 7_100_000
    assert apply_overrides(RUN, ["data.path=7M"]).data.path == "7M"


@given(st.integers(1, 999_999_999), st.sampled_from(["", "k", "M", "b", "T"]))
def test_counts_of_people_are_read_exactly(n, suffix):
    power = {"": 0, "k": 3, "M": 6, "b": 9, "T": 12}[suffix]
    assert number_of(f"{n / 1000:.3f}{suffix}") == float(f"{n}e{power - 3}")
    assert number_of(f"{n:,}{suffix}") == number_of(f" {n:_} {suffix} ") == float(n * 10**power)


@pytest.mark.parametrize("text", ["", "M", "7Q", "3,5", "1,0000", "1.000.000", "nan", "7e", "1e3M", "seven"])
def test_what_is_no_number_or_may_be_two_is_refused(text):
    with pytest.raises(ValueError, match="is not a number; write 1e9, 7B"):
        number_of(text)


def test_missing_fields_are_named():
    values = to_json(RUN)
    del values["optimizer"]["lr"]
    with pytest.raises(ValueError, match=r"RunConfig\.optimizer\.lr is missing"):
        from_json(RunConfig, values)


def test_the_nearest_name_is_proposed_and_else_all_are_named():
    known = {"adamw": 1, "muon": 2}
    assert did_you_mean("adam", known) == "did you mean 'adamw'?"
    assert did_you_mean("sgd", known) == "there are adamw, muon"
    assert did_you_mean("sgd", known, ["a file of yours"]) == "there are a file of yours"
