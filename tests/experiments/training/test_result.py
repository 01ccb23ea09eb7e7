"""A run's row by hand: done, diverged, gone on with."""

import dataclasses
import math
import os
from types import SimpleNamespace

import jax
import pytest

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig
from experiments.objective import RunData
from experiments.objective_configs import DPOConfig, ExamplesConfig, InitConfig
from experiments.training.result import PACKAGES, describe_device, result_row
from models import count, ladder

RUN = RunConfig(
    model=ladder(16, 259, "moe"),
    data=DataConfig(),
    optimizer=OptimizerConfig(0.02),
    schedule=ScheduleConfig(),
    batch_tokens=64,
    seq_len=16,
    n_tokens=640,
    seed=3,
    n_val_tokens=4096,
)
ABOUT = {"task": "t", "source": {"url": "u"}, "licence": "l", "tokenizer": {}, "splits": {}, "dtype": "<u2"}
TRAINING = RunData(lambda seed, step, rows: None, [], 500 / 480, 500, 496, ABOUT)
LAST = {
    **{"step": 10, "tokens": 640, "flops": 5e6, "val_loss": 2.5, "val_loss_se": 0.1},
    **{"val_bits_per_byte": 3.0, "val_tokens": 128},
}


def row(last=LAST, first_step: int = 0, **seconds: float) -> dict:
    return result_row(RUN, TRAINING, last, first_step, seconds or {"train": 2.0, "compile": 1.5})


def test_a_run_that_is_done():
    found, counts = row(), count(RUN.model)
    assert found["run_id"] == RUN.run_id and found["status"] == "done" and found["seed"] == 3
    measured = {name: found[name] for name in ("loss", "loss_se", "bits_per_byte", "val_tokens", "n_steps")}
    assert measured == {"loss": 2.5, "loss_se": 0.1, "bits_per_byte": 3.0, "val_tokens": 128, "n_steps": 10}
    sizes = {name: found[name] for name in ("n_params", "n_embed", "n_total", "n_active")}
    assert sizes == {name: getattr(counts, name) for name in sizes} and len({*sizes.values()}) > 2
    assert (found["family"], found["d_model"], found["n_layers"], found["lr"]) == ("moe", 16, 2, 0.02)
    assert (found["wall_seconds"], found["flops_per_second"]) == (3.5, 5e6 / 2)
    assert found["conventions"]["loss"].endswith(
        "on the leading 4,096 tokens of the validation split, or all of it"
    )
    assert found["data"] == {name: ABOUT[name] for name in ABOUT if name != "dtype"}
    assert found["versions"].keys() == set(PACKAGES) and all(found["versions"].values())


def test_text_that_is_read_again_is_no_new_text():
    """The split of 500 tokens has 31 windows of 16 tokens to predict."""
    assert (row()["epochs"], row()["unique_tokens"]) == (640 / 496, 500)
    short = row(LAST | {"step": 2, "tokens": 128})
    assert (short["epochs"], short["unique_tokens"]) == (128 / 496, 128)


@pytest.mark.parametrize(
    "last",
    [
        LAST | {"step": 9},
        {"step": 10, "tokens": 640, "flops": 5e6},
        LAST | {"val_loss": math.nan},
    ],
)
def test_a_run_without_its_last_measurement_has_diverged(last):
    """It stopped early, though it had been measured there, its last step gave no number, or its end has no
    loss."""
    found = row(last)
    assert (found["status"], found["loss"], found["bits_per_byte"]) == ("diverged", math.inf, math.inf)
    assert math.isnan(found["loss_se"]) and found["val_tokens"] == 0
    assert (found["n_steps"], found["n_tokens"], found["flops"]) == (last["step"], 640, 5e6)


def test_the_speed_is_that_of_the_steps_made_here():
    assert row(first_step=6, train=2.0)["flops_per_second"] == pytest.approx(5e6 * 4 / 10 / 2)
    assert row(first_step=10, start=0.3)["flops_per_second"] == 1  # none was; it divides, so it is no 0
    assert row(first_step=10, start=0.3)["wall_seconds"] == 0.3


def test_a_device_is_described_by_its_kind_and_a_cpu_by_the_cores_that_we_may_use():
    gpu = SimpleNamespace(platform="gpu", device_kind="NVIDIA H100 80GB HBM3")
    assert describe_device(gpu) == "NVIDIA H100 80GB HBM3"
    cpu, allowed = jax.devices("cpu")[0], os.sched_getaffinity(0)
    try:
        for n in range(1, len(allowed) + 1):
            os.sched_setaffinity(0, sorted(allowed)[:n])
            assert describe_device(cpu) == ("cpu, 1 core" if n == 1 else f"cpu, {n} cores")
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_post_trained_run_says_where_it_started_and_what_it_was_trained_for():
    run = dataclasses.replace(
        RUN,
        init=InitConfig("abc"),
        examples=ExamplesConfig("gold"),
        objective=DPOConfig(beta=0.3),
    )
    last = {"step": 10, "tokens": 640, "flops": 5e6, "val_loss": 0.6, "val_loss_se": 0.1, "val_accuracy": 0.8}
    found = result_row(run, TRAINING, last, 0, {"train": 1.0})
    about = found["post_training"]
    assert (about["init"], about["objective"], about["objective_beta"]) == ("abc", "dpo", 0.3)
    assert about["accuracy"] == 0.8 and found["loss"] == 0.6 and math.isnan(found["bits_per_byte"])
    assert found["conventions"]["loss"].startswith("mean of the preference loss")
    assert row()["post_training"] == {}
