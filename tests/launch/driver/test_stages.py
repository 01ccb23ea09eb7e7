"""Stages of a study: planned from those before, in order, again the same; the table of their runs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data_configs import DataConfig, MixtureConfig
from experiments.fields import Numbers
from experiments.studies import Stage, Study
from launch.driver import stages as driver
from launch.driver.runs_table import COLUMNS, read_table, write_table
from launch.driver.stages import PlannedStages, finish, planned_run, stages
from launch.store import Store, settings
from models import count, ladder
from scaling.table.runs import Runs


def config(d_model: int = 16, lr: float = 0.1, **changes) -> RunConfig:
    base = RunConfig(ladder(d_model, 259), DataConfig(), OptimizerConfig(lr), ScheduleConfig(), 64, 8, 640)
    return replace(base, **changes)


def result(lr: float, status: str = "done", **changes) -> dict:
    about = {"data": {"task": "docstrings", "tokenizer": {"name": "bytes"}}, "versions": {"jax": "1"}}
    about |= {"conventions": {"loss": "nats"}, "device": "2 cores", "n_params": 1000, "flops": 1e9}
    return {"status": status, "loss": 2 + lr, "lr": lr, **about} | changes


RATES = (0.1, 0.2, 0.3)
RUN = planned_run("sweep", config())


def sweep(runs: Runs) -> list[RunConfig]:
    assert len(runs.table) == 0
    return [config(lr=lr) for lr in RATES]


def extend(runs: Runs) -> list[RunConfig]:
    """A larger run at the best rate; its first run was a sweep's already."""
    best = runs.table.sort_values("loss").iloc[0]
    return [config(lr=RATES[0]), config(32, lr=float(best["lr"]))]


def predict(folder: Path, runs: Runs, configs: list[RunConfig]) -> None:
    known = Store(folder).plan.runs()
    (folder / "before.json").write_text(
        json.dumps([configs[1].run_id, configs[1].run_id in known, len(runs.table)])
    )


def study(*made: Stage) -> Study:
    return Study("made", "two stages", None, made, lambda folder, runs: f"{len(runs.table)} runs in all")


SWEEP, EXTEND = Stage("sweep", sweep), Stage("extend", extend, before=predict)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "x")


def finish_all(store: Store, **changes) -> None:
    for run_id, state in store.states().items():
        if state == "planned":
            lr = store.plan.runs()[run_id].config["optimizer"]["lr"]
            lease = store.claim(run_id)
            assert lease and store.finish(lease, result(lr, **changes))


def plans(planned: PlannedStages) -> dict[str, Any]:
    return {name: plan and [run.run_id for run in plan] for name, plan in planned.plans.items()}


def test_a_run_is_planned_in_whole_batches_with_the_flops_of_its_tokens():
    made = planned_run("sweep", config(n_tokens=100))
    assert (made.stage, made.n_steps, made.n_tokens) == ("sweep", 2, 128)
    counts = count(ladder(16, 259))
    assert made.n_params == counts.n_params and made.flops == 128 * counts.flops_per_token(8)
    assert made.run_id == config(n_tokens=100).run_id and made.config == config(n_tokens=100).as_json
    other = planned_run("sweep", config(lr=0.2, n_tokens=100))
    larger, longer = planned_run("sweep", config(32)), planned_run("sweep", config(seq_len=16))
    assert other.shape == made.shape and other.run_id != made.run_id
    assert len({made.shape, larger.shape, longer.shape}) == 3


def test_stages_are_planned_one_after_another_from_the_results_before(store):
    ids = [config(lr=lr).run_id for lr in RATES]
    steps = stages(study(SWEEP, EXTEND), store)
    first = next(steps)
    assert first.stage is SWEEP and plans(first) == {"sweep": ids, "extend": None}
    assert first.waiting == ["extend"] == store.plan.waiting_stages()
    assert [run.run_id for run in first.added] == ids == list(store.plan.runs())
    finish_all(store)
    second, large = next(steps), config(32, lr=0.1).run_id
    assert second.stage is EXTEND and plans(second) == {"sweep": ids, "extend": [ids[0], large]}
    assert [run.run_id for run in second.added] == [large] and store.plan.waiting_stages() == []
    assert second.stage_of == {**dict.fromkeys(ids, "sweep"), large: "extend"}  # the first that planned it
    finish_all(store)
    (last,) = steps
    assert last.stage is None and last.plans == second.plans and not last.added


def test_what_must_be_on_disk_before_a_run_trains_is_there_before_it_is_planned(store):
    steps = stages(study(SWEEP, EXTEND), store)
    next(steps)
    assert not (store.folder / "before.json").exists()
    finish_all(store)
    next(steps)
    written = json.loads((store.folder / "before.json").read_text())
    assert written == [config(32, lr=0.1).run_id, False, 3]
    finish_all(store)
    (store.folder / "before.json").unlink()
    list(stages(study(SWEEP, EXTEND), store))
    assert not (store.folder / "before.json").exists()  # its runs are done


def test_whoever_plans_again_plans_the_same_and_adds_nothing(store):
    made = study(SWEEP, EXTEND)
    once, again = next(stages(made, store)), next(stages(made, store))
    assert once.plans == again.plans and not again.added and not again.dropped
    finish_all(store)
    once, again = next(stages(made, store)), next(stages(made, store))
    assert once.stage is again.stage is EXTEND and once.plans == again.plans
    assert len(once.added) == 1 and not again.added


def test_a_stage_without_runs_is_passed_over_and_a_study_of_none_leaves_no_trace(store):
    empty = Stage("empty", lambda runs: [])
    (last,) = stages(study(empty), store)
    assert last.plans == {"empty": []} and last.stage is None and not store.folder.exists()
    planned = next(stages(study(empty, SWEEP), store))
    assert planned.stage is SWEEP and planned.plans["empty"] == [] and not planned.waiting


def test_runs_that_a_definition_no_longer_holds_are_set_aside_until_one_holds_them_again(store):
    three, two = study(SWEEP), study(Stage("sweep", lambda runs: sweep(runs)[:2]))
    ids = plans(next(stages(three, store)))["sweep"]
    planned = next(stages(two, store))
    assert planned.dropped == (ids[2],) and not planned.added
    assert list(store.states().values()) == ["planned", "planned", "cancelled"]
    assert next(stages(three, store)).dropped == () and set(store.states().values()) == {"planned"}


def test_results_of_runs_set_aside_are_no_part_of_the_study(store):
    next(stages(study(SWEEP), store))
    finish_all(store)
    two = study(Stage("sweep", lambda runs: sweep(runs)[1:]), EXTEND)
    planned = next(stages(two, store))
    _, second, *_ = planned.plans["extend"] or []
    assert second.config["optimizer"]["lr"] == 0.2  # the best of those left


def test_what_can_be_planned_before_any_run_is_done_is_shown_and_nothing_written(store):
    empty = Stage("empty", lambda runs: [])
    planned = driver.plan_stages(study(empty, SWEEP, EXTEND))
    assert {name: plan if plan is None else len(plan) for name, plan in planned.items()} == {
        **{"empty": 0, "sweep": 3, "extend": None}
    }
    driver.check(study(SWEEP))
    with pytest.raises(ValueError, match="batch_tokens=64 is not a multiple of seq_len=7"):
        driver.check(study(Stage("sweep", lambda runs: [config(seq_len=7)])))


def test_the_table_has_the_finished_runs_in_planned_order_with_their_stage():
    results = {"b": result(0.2), "x": result(0.3), "a": result(0.1, extra=3)}
    runs = read_table(results, {"a": "sweep", "missing": "sweep", "b": "extend"}, dict.fromkeys("abx", RUN))
    assert list(runs.table.columns) == list(COLUMNS)
    assert runs.table[["run_id", "stage", "lr"]].values.tolist() == [
        ["a", "sweep", 0.1],
        ["b", "extend", 0.2],
    ]
    assert runs.conventions == {
        **{"loss": "nats", "tokenizer": {"name": "bytes"}},
        "data": {"name": "docstrings", "task": "docstrings"},
    }
    nothing = read_table({}, {"a": "sweep"}, {})
    assert nothing.table.empty and nothing.conventions == {}


def test_the_table_has_every_setting_that_differs_and_says_which_of_them_follow_from_others():
    decaying = config(optimizer=OptimizerConfig(0.1, weight_decay=0.0), schedule=ScheduleConfig("cosine"))
    warm = config(32, schedule=ScheduleConfig(warmup_tokens=64), seed=1)
    mixed = config(data=DataConfig(by="lang", mixture=MixtureConfig(Numbers(en=1.0))))
    made = {config.run_id: planned_run("a", config) for config in (config(), decaying, warm, mixed)}
    results = {run_id: result(0.1, seed=run.config["seed"]) for run_id, run in made.items()}
    table = read_table(results, dict.fromkeys(made, "a"), made).table
    assert table["optimizer.weight_decay"].tolist() == [0.1, 0.0, 0.1, 0.1]
    assert table["schedule.name"].tolist() == ["wsd", "cosine", "wsd", "wsd"]
    assert table["schedule.warmup_tokens"].tolist() == [0, 0, 64, 0]  # left out of the JSON at its default
    assert table["data.mixture.weights.en"].isna().tolist() == [True, True, True, False]
    assert table["model.n_heads"].tolist() == [2, 2, 4, 2]
    assert table["seed"].tolist() == [0, 0, 1, 0] and "optimizer.lr" not in table
    shown = settings.telling(run.config for run in made.values())
    assert {"model.d_model", "optimizer.weight_decay", "data.by"} < set(shown)
    assert not {"model.n_heads", "model.d_ff", "model.embedding_scale"} & set(
        shown
    )  # a width has one of each


def test_settings_that_a_width_does_not_settle_are_shown():
    wide = [config(d_model) for d_model in (16, 16, 32)]
    wide[1] = replace(wide[1], model=replace(wide[1].model, d_ff=56))
    assert settings.telling(run.as_json for run in wide) == ("model.d_model", "model.d_ff")


def test_what_only_some_combinations_have_is_shown_whatever_stands_beside_it():
    """Each part of the third has been in one of those before it; together they tell it apart."""
    alone = {"init": None, "objective": None, "seed": 0}
    runs = [alone, {"init": {"source": "x"}, "objective": {"kind": "sft"}, "seed": 1}]
    assert settings.telling(runs) == ("seed", "init.source")
    runs.append(alone | {"objective": {"kind": "sft"}})
    assert settings.varied(runs) == settings.telling(runs) == ("seed", "init.source", "objective.kind")


def of_ladder(width: int, **changes) -> dict:
    """The result of a run of our ladder's model of this width."""
    counts, tokenizer = count(ladder(width, 259)), {"name": "bytes", "size": 259}
    row = {"family": "transformer", "d_model": width, "seq_len": 8, "n_params": counts.n_params}
    row |= {"n_tokens": 640, "flops": 640 * counts.flops_per_token(8)}
    return result(0.1, **row, data={"task": "docstrings", "tokenizer": tokenizer}) | changes


def test_runs_of_one_ladder_state_what_its_larger_models_cost():
    results = {"a": of_ladder(16), "b": of_ladder(40)}
    stated = read_table(results, dict.fromkeys(results, "grid"), dict.fromkeys("ab", RUN)).conventions[
        "ladder"
    ]
    large = count(ladder(256, 259))
    assert (large.n_params, large.flops_per_token(8)) in zip(stated["n_params"], stated["flops"])
    for other in (of_ladder(40, n_params=1000), of_ladder(40, seq_len=16), of_ladder(40, family="rnn")):
        mixed = read_table(
            {"a": of_ladder(16), "b": other}, {"a": "grid", "b": "grid"}, dict.fromkeys("ab", RUN)
        )
        assert "ladder" not in mixed.conventions


def test_the_sidecar_names_every_device_once(store):
    planned = next(stages(study(SWEEP), store))
    for run_id, device in zip(store.plan.runs(), ("H100", "2 cores", "H100")):
        store.finish(store.claim(run_id), result(0.1, device=device))
    write_table(store, planned.stage_of)
    sidecar = json.loads((store.folder / "runs.json").read_text())
    assert sidecar["settings"] == ["lr"]
    assert sidecar["device"] == "2 cores, H100" and sidecar["versions"] == {"jax": "1"}
    assert pd.read_csv(store.folder / "runs.csv", dtype={"run_id": str})["run_id"].tolist() == list(
        store.plan.runs()
    )


def test_a_finished_study_has_a_line_a_stage_and_its_conclusion(store):
    made = study(SWEEP, EXTEND)
    next(stages(made, store))
    finish_all(store)
    next(stages(made, store))
    finish_all(store, status="diverged", loss=float("inf"), n_params=1_200_000)
    (last,) = stages(made, store)
    lines = finish(made, store, last).splitlines()
    assert lines[-1] == "4 runs in all" == store.finished.read_text().splitlines()[-1]
    rows = [line.split() for line in lines if line]
    assert rows[1] == ["sweep", "3", "0", "1k", "3.0e+09", "2.1000"]
    assert rows[2] == ["extend", "1", "1", "1.2M", "1.0e+09", "inf"]
    assert len(pd.read_csv(store.folder / "runs.csv")) == 4
