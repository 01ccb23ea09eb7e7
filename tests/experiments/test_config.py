"""Run configurations: stable identity, what runs share, and wrong settings refused by name."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.fields import apply_overrides, from_json, to_json
from models import ladder

RUN = RunConfig(ladder(16, 259), DataConfig(), OptimizerConfig(1e-3), ScheduleConfig(), 512, 128, 10**6)


def test_identity_is_stable_between_versions():
    """A changed default or field changes every id: results that exist would be trained again."""
    assert RUN.run_id == "282a05030e4d"


def test_a_number_that_is_equal_but_written_otherwise_keeps_its_own_identity():
    runs = [dataclasses.replace(RUN, optimizer=OptimizerConfig(lr)) for lr in (1, 1.0, 1)]
    assert runs[0] == runs[1] and [run.as_json["optimizer"]["lr"] for run in runs] == [1, 1.0, 1]
    assert runs[0].run_id == runs[2].run_id != runs[1].run_id
    assert all(run.as_json == to_json(run) for run in runs)


def test_a_later_field_changes_the_identity_only_where_it_is_used():
    assert "warmup_tokens" not in to_json(RUN)["schedule"]
    used = apply_overrides(RUN, ["schedule.warmup_tokens=1024"])
    assert to_json(used)["schedule"]["warmup_tokens"] == 1024 and used.run_id != RUN.run_id
    assert from_json(RunConfig, to_json(used)) == used


def test_runs_that_may_pack_differ_in_seed_and_traced_numbers_only():
    same = [
        "optimizer.lr=1",
        "optimizer.b1=0.8",
        "schedule.decay=0.2",
        "schedule.warmup_tokens=512",
        "seed=4",
    ]
    assert apply_overrides(RUN, same).pack_key == RUN.pack_key
    for change in (
        *("n_tokens=2e6", "n_val_tokens=1024", "data.path=x", "model.d_ff=56", "batch_tokens=1024"),
        *("optimizer.name=lion", "schedule.name=cosine", "seq_len=64"),
    ):
        assert apply_overrides(RUN, [change]).pack_key != RUN.pack_key, change


def test_runs_of_a_prefix_differ_in_length_and_decay_only():
    assert RUN.prefix_key == "", "its warm-up is a part of its length"
    run = apply_overrides(RUN, ["schedule.warmup_tokens=5120"])
    assert apply_overrides(run, ["schedule.name=cosine"]).prefix_key == ""
    same = ["n_tokens=2e6", "schedule.decay=0.2", "schedule.final=0.1", "schedule.warmup=0.3"]
    assert apply_overrides(run, same).prefix_key == run.prefix_key != ""
    for change in ("seed=1", "optimizer.lr=0.2", "schedule.warmup_tokens=6000", "n_val_tokens=1024"):
        assert apply_overrides(run, [change]).prefix_key != run.prefix_key, change


@given(n_steps=st.integers(1, 10**6), decay=st.floats(0, 1))
def test_the_branch_is_before_the_decay_and_never_the_end(n_steps, decay):
    schedule = ScheduleConfig(warmup=0.0, decay=decay)
    run = dataclasses.replace(RUN, n_tokens=512 * n_steps, schedule=schedule)
    assert 0 <= run.branch_step < n_steps
    assert run.branch_step - 0.5 <= (1 - decay) * n_steps
    assert run.branch_step > (1 - decay) * n_steps - 2 - 1e-6 * n_steps


def test_every_field_is_part_of_the_identity():
    changed = [
        "seed=1",
        "n_tokens=1000448",
        "optimizer.lr=0.002",
        "schedule.decay=0.2",
        "data.path=x",
        "model.d_ff=56",
    ]
    assert len({RUN.run_id} | {apply_overrides(RUN, [change]).run_id for change in changed}) == 7


def test_shape_is_shared_by_runs_that_differ_in_traced_numbers_only():
    same = apply_overrides(RUN, ["optimizer.lr=1", "schedule.warmup=0.2", "seed=4", "n_tokens=1024"])
    assert same.shape_key == RUN.shape_key
    for change in ("batch_tokens=1024", "schedule.name=cosine", "model.d_ff=56", "model.dtype=bfloat16"):
        assert apply_overrides(RUN, [change]).shape_key != RUN.shape_key


@pytest.mark.parametrize(
    "override, message",
    [
        ("optimizer.lrr=1", "no field 'lrr'; did you mean 'lr'"),
        ("zzz=1", "there are"),
        ("seed", "expected FIELD=VALUE"),
        ("seed.x=1", "has no fields"),
        ("seed=1.5", "expected a value of type int"),
        ("optimizer.lr=fast", "expected a value of type float"),
        ("optimizer.lr=-1", "must be positive"),
        ("optimizer.lr=Infinity", "positive and finite"),
        ("optimizer.lr=NaN", "not a number"),
        ("optimizer.b2=-1", "allowed are 0 to less than 1"),
        ("optimizer.b1=1", "allowed are 0 to less than 1"),
        ("optimizer.eps=-1", "0 or more"),
        ("optimizer.weight_decay=-5", "0 or more"),
        ("seed=9223372036854775808", "64 bits"),
        ("model.norm_eps=0", "positive and finite"),
        ("model.rope_theta=0", "positive and finite"),
        ("schedule.name=linear", "allowed are 'wsd', 'cosine'"),
        ("schedule.decay=0.99", "sum is at most 1"),
        ("schedule.warmup_tokens=-1", "must not be negative"),
        ("schedule.warmup_tokens=800000", "are more than the run's n_tokens=1000000"),
        ("n_tokens=-5", "at least 1"),
        ("batch_tokens=100", "not a multiple of seq_len"),
        ("batch_tokens=1e12", "it must be at most 268,435,456"),  # which no memory holds
        ("n_tokens=100", "at least one step"),
        ("model.d_head=3", "even"),
        ("model.n_kv_heads=3", "not a multiple"),
        ("model=3", "expected an object"),
    ],
)
def test_wrong_overrides_are_refused_in_one_line(override, message):
    with pytest.raises(ValueError, match=message) as error:
        apply_overrides(RUN, [override])
    assert "\n" not in str(error.value)
