"""Grids: what a file says becomes these runs and no others; what could be none is refused before that."""

import json
import tomllib
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

from experiments.fields import to_json
from experiments.studies import grid
from experiments.studies.grid import InvalidCells, cells_of, grid_schema, grid_study, read_grid
from experiments.studies.grid.study import best, larger, untuned
from models import count
from scaling.table.runs import Runs
from tests.experiments.studies.test_quickstart import loss, trained

TEMPLATE = Path(grid.__file__).with_name("template.toml").read_text()
SMALL = """
[base]
preset = "transformer"
optimizer.lr = 0.01
flops = 1e11
[vary]
model.d_model = [16, 32]
"""


def runs_of(text: str, overrides: list[str] | None = None, name: str = "grid.toml"):
    return [cell.config for cell in cells_of(untuned(read_grid(name, text, overrides or []))).cells]


def refusal(text: str, *overrides: str, name: str = "grid.toml") -> str:
    with pytest.raises(ValueError) as refused:
        grid_study(name, text, list(overrides))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_every_combination_is_a_run_and_lists_that_go_together_stay_together():
    text = """
    seeds = 2
    [base]
    preset = "transformer"
    n_tokens = 51_200
    model.d_model = 16
    [vary]
    "optimizer.lr" = [0.01, 0.02]
    [zip]
    batch_tokens = [512, 1024]
    seq_len = [64, 128]
    """
    found = [(run.optimizer.lr, run.batch_tokens, run.seq_len, run.seed) for run in runs_of(text)]
    assert found == [
        (lr, *together, seed)
        for lr in (0.01, 0.02)
        for together in ((512, 64), (1024, 128))
        for seed in (0, 1)
    ]


def test_toml_yaml_and_json_say_the_same():
    document = {"base": {"preset": "rwkv7", "model.d_model": 16}, "vary": {"optimizer.lr": [1e-3, 2e-3]}}
    yaml = "base: {preset: rwkv7, model: {d_model: 16}}\nvary:\n  optimizer.lr: [1e-3, 2.0e-3]\n"
    toml = 'base = {preset = "rwkv7", model.d_model = 16}\nvary.optimizer.lr = [1e-3, 2e-3]\n'
    one, two, three = (
        runs_of(toml),
        runs_of(yaml, name="g.yaml"),
        runs_of(json.dumps(document), name="g.json"),
    )
    assert one == two == three and [run.optimizer.lr for run in one] == [0.001, 0.002]


def test_budgets_are_met_in_whole_batches_or_refused_with_numbers():
    for flops, config in zip((1e11, 1e11), runs_of(SMALL)):
        per_token = count(config.model).flops_per_token(config.seq_len)
        assert config.n_tokens == round(flops / per_token)
        assert config.n_steps * 512 * per_token == pytest.approx(flops, rel=0.01)
    (run,) = runs_of(SMALL, ["vary.model.d_model=[24]", "vary.tokens_per_param=[10]"])
    assert run.n_tokens == 10 * count(run.model).n_params  # what varies takes the place of the base's budget
    d16 = count(runs_of(SMALL)[0].model)
    n_tokens = round(1e9 / d16.flops_per_token(128))
    said = refusal(SMALL, "flops=1e9", "vary.model.d_model=[16]", "batch_tokens=65536")
    assert f"pays for {n_tokens:,} tokens of a model with N = {d16.n_params:,}" in said
    assert f"{n_tokens / 65536:.2g} batches of batch_tokens=65,536" in said
    assert "and flops; a run has one budget" in refusal(SMALL, "n_tokens=1e6")


def test_a_published_shape_takes_the_vocabulary_of_the_data_and_says_so():
    study = grid_study("grid.json", '{"base": "llama-60m", "vary": {"optimizer.lr": [1e-3, 2e-3]}}', [])
    one, _ = study.stages[0].plan(Runs(pd.DataFrame()))
    assert (one.model.n_layers, one.model.d_ff, one.model.vocab_size) == (8, 1376, 259)
    assert "batch_tokens 131,072" in study.notes[0] and "llama-60m's 32,000" in study.notes[0]
    (wide,) = runs_of('base.preset = "llama-60m"\nbase.model.n_layers = 4\nvary.optimizer.lr = [1]')
    assert (wide.model.n_layers, wide.model.d_model) == (4, 512)


def test_conditions_leave_out_combinations_that_could_be_no_run_too():
    everywhere = ["vary.model.d_model=[12, 16, 20, 32]", "vary.optimizer.lr=[0.01, 0.04]"]
    with pytest.raises(InvalidCells) as refused:
        runs_of(SMALL, everywhere)
    assert [name for name, _ in refused.value.found] == [
        f"model.d_model={d_model} optimizer.lr={lr}" for d_model in (12, 20) for lr in (0.01, 0.04)
    ]
    assert "d_model=12; the ladder has multiples of 8" in str(refused.value)
    conditions = ["model.d_model % 8 == 0", "optimizer.lr * n_params < 500 and model.n_heads in [2, 4]"]
    kept = runs_of(SMALL, [*everywhere, f"where={json.dumps(conditions)}"])
    assert [(run.model.d_model, run.optimizer.lr) for run in kept] == [(16, 0.01), (16, 0.04), (32, 0.01)]


def test_runs_that_are_the_same_are_one_and_named():
    study = grid_study(
        "grid.toml", SMALL, ["vary.optimizer.lr=[0.01, 1e-2]", "vary.flops=[1e11, 1.00000001e11]"]
    )
    plan = study.stages[0].plan(Runs(pd.DataFrame()))
    assert len(plan) == len({run.run_id for run in plan}) == 2
    assert "duplicate: model.d_model=16 optimizer.lr=0.01 flops=1e+11 is there twice" in study.notes
    assert any("is the same run as model.d_model=32" in note for note in study.notes)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["vary.lr=[1]"], "vary: runs have no field 'lr'; did you mean 'optimizer.lr'?"),
        (["vary.model.dmodel=[1]"], "did you mean 'model.d_model'?"),
        (["optimizer.rate=1"], "there are optimizer.lr, optimizer.b1"),
        (["vary.preset=[\"llama-60\"]"], "no preset 'llama-60'; did you mean 'llama-60m'?"),
        (["where=model.dmodel < 3"], "did you mean 'model.d_model'?"),
        (["where=open('x')"], "is not understood"),
        (["where=n_params > 1e9"], "conditions leave out all 2 combinations"),
        (["vary.optimizer.lr=0.1"], "vary.optimizer.lr=0.1; give a list"),
        (["vary.seed=[1]", "seeds=2"], "seed varies twice"),
        (["seeds=0"], "seeds=0; give how many"),
        (["seeds=1e12"], "give how many, 1 to 100,000"),
        (["zip.seed=[1]", "zip.optimizer.lr=[1, 2]"], "lists that go together have one length"),
        (["vary.optimizer.name=[\"adam\"]"], "optimizer: name='adam'; there are adamw, muon, lion"),
        (["optimizer.lr=\"fast\""], "run.optimizer.lr='fast'; expected a value of type float"),
        (["flops=-1"], "flops=-1; a budget is a positive number"),
        (["model.vocab_size=100"], "model.vocab_size=100 is less than data.vocab_size=259"),
        (["model.positions=\"learned\"", "model.max_len=64"], "seq_len=128 is more than model.max_len=64"),
        (["stages=[\"verify\", \"grid\"]"], "with 'tune' before it"),
        (["stages=[\"tune\", \"grid\"]"], "give 3 or more"),
        (["stages=[\"grid\", \"verify\"]"], "2 different (N, D) of 2 sizes are too few"),
        (["vary.seed=[" + "1," * 60_000 + "1]"], "120,002 combinations; at most 100,000"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_a_line_that_names_it(overrides, said):
    assert said in refusal(SMALL, *overrides)


def test_files_that_are_no_grids_are_refused():
    assert "grid.toml cannot be read" in refusal("x =")
    assert "no field 'bas'; did you mean 'base'" in refusal('bas = "rnn"')
    assert "no field 'optimizer'" in refusal("optimizer.lr = 1")
    assert "expected the keys base" in refusal("[]", name="grid.json")
    assert "cannot be read: aliases (*name) are not taken" in refusal("a: &a [*a]", name="grid.yaml")
    assert "cannot be read" in refusal("base: {seed: 2026-01-01}", name="grid.yaml")
    assert "give how many" in refusal('base = "rnn"\nseeds = 1_000_000_000_000')
    assert "optimizer.lr is there twice" in refusal(
        "vary: {optimizer.lr: [1], optimizer: {lr: [2]}}", name="g.yml"
    )


def test_the_schema_accepts_grids_and_refuses_what_reading_refuses():
    check = jsonschema.Draft7Validator(grid_schema())
    check.check_schema(check.schema)
    assert not list(check.iter_errors(tomllib.loads(TEMPLATE)))
    assert not list(
        check.iter_errors({"base": "llama-60m", "vary": {"optimizer.lr": [1], "model": {"d_ff": [8]}}})
    )
    for wrong in (
        {"vary": {"seed": [1]}},
        {"base": "llama"},
        {"base": {"model": {"dmodel": 3}}},
        {"base": {"optimizer.lr": "x"}},
        {"base": {}, "vary": {"optimizer.lr": 1}},
        {"base": {}, "stages": ["tun"]},
    ):
        assert list(check.iter_errors(wrong)), wrong


def test_stages_tune_by_group_and_verify_what_was_planted(tmp_path):
    text = SMALL + "optimizer.lr = [0.005, 0.01, 0.02, 0.04]\nflops = [0.9e11, 1.8e11, 3.6e11]\n"
    sizes = ["vary.model.d_model=[16, 24, 32, 40, 48]", "n_bootstrap=20"]
    study = grid_study("grid.toml", text, [*sizes, 'stages=["tune", "grid", "verify"]'])
    stages = {stage.name: stage for stage in study.stages}
    sweep = stages["tune"].plan(Runs(pd.DataFrame()))
    assert [run.model.d_model for run in sweep] == [16] * 4 + [24] * 4 + [32] * 4
    runs = Runs(trained("tune", sweep))
    plan = stages["grid"].plan(runs)
    assert len(plan) == 15 and plan == stages["grid"].plan(runs)
    for run in plan:
        assert run.optimizer.lr == pytest.approx(count(run.model).n_params ** -0.45, rel=0.1)
    runs = Runs(pd.concat([runs.table, trained("grid", plan)], ignore_index=True))
    (last,) = stages["verify"].plan(runs)
    spent = last.n_steps * last.batch_tokens * count(last.model).flops_per_token(last.seq_len)
    assert spent == pytest.approx(8 * 3.6e11, rel=0.01)
    candidates = larger(study.settings, cells_of(untuned(study.settings)))
    losses = [loss(n := count(c.model).n_params, c.n_tokens, n**-0.45) for c in candidates]
    right = candidates[int(np.argmin(losses))].model.d_model
    assert abs(last.model.d_model - right) <= 16 and last.model.d_model > 48
    before = stages["verify"].before
    assert before
    before(tmp_path, runs, [last])
    said = json.loads((tmp_path / "verify.json").read_text())
    measured = trained("verify", [last])
    assert said["lo"] < measured.loss.iloc[0] < said["hi"] and (tmp_path / "lr.json").exists()

    two = grid_study(
        "grid.toml", text, [*sizes, 'stages=["tune", "grid"]', 'vary.optimizer.name=["adamw", "lion"]']
    )
    sweep = two.stages[0].plan(Runs(pd.DataFrame()))
    assert [run.optimizer.name for run in sweep] == ["adamw"] * 12 + ["lion"] * 12
    rows = trained("tune", sweep).assign(name=[run.optimizer.name for run in sweep])
    rows.loc[rows.name == "lion", "loss"] *= 1 + 0.1 * np.log(rows.lr / 0.005)  # its best rate is the lowest
    rates = {run.optimizer.name: run.optimizer.lr for run in two.stages[1].plan(Runs(rows))}
    assert rates["lion"] < 0.6 * rates["adamw"]
    assert "fits one law" in refusal(
        text, *sizes, 'stages=["tune", "grid", "verify"]', "vary.batch_tokens=[512, 1024]"
    )


def test_the_best_settings_are_means_over_seeds():
    cells = cells_of(read_grid("grid.toml", SMALL, ["seeds=3", "vary.optimizer.lr=[0.01, 0.3]"]))
    plan = [cell.config for cell in cells.cells]
    rows = trained("grid", plan)
    rows["loss"] = rows.groupby(["d_model", "lr"]).loss.transform("min") + [0.001 * run.seed for run in plan]
    said = best(cells, plan, Runs(rows)).splitlines()
    assert said[0] == "lowest losses of 4 settings, in nats per token:" and len(said) == 5
    first = rows.sort_values("loss").iloc[0]
    assert said[1].endswith(f"over 3 seeds  model.d_model={first.d_model} optimizer.lr={first.lr:g}")
    assert f"{first.loss + 0.001:.4f} ± 0.0010" in said[1]
    rows.loc[rows.run_id == first.run_id, "loss"] = np.inf
    last = best(cells, plan, Runs(rows)).splitlines()[-1]
    assert last == f"  diverged in 1 of 3  model.d_model={first.d_model} optimizer.lr={first.lr:g}"


def test_the_template_is_a_grid_whose_every_key_counts():
    runs = runs_of(TEMPLATE)
    assert len(runs) == 32 and to_json(runs[0])["schedule"]["name"] == "wsd"
