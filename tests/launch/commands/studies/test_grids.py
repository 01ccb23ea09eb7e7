"""A grid on the command line: shown, written, extended, moved and continued as any study is."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from experiments.data.prepare import cache_name
from experiments.data_configs import DataConfig
from launch.store import Store, study_file
from tests.experiments.studies.test_quickstart import loss
from tests.launch.commands.studies.test_submit import row
from tests.tiny_run import isoflop, make_cache

GRID = """
seeds = 2
[base]
preset = "transformer"
n_tokens = 10_240
model.d_model = 16
[vary]
optimizer.lr = [0.01, 0.02]
"""


@pytest.fixture
def tokens(tmp_path, monkeypatch):
    """The default corpus as prepared tokens, a few of them."""
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / cache_name(DataConfig())
    make_cache(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"source": {}, "licence": ""}))


@pytest.fixture
def here(tmp_path, monkeypatch, tokens):
    """The working directory, with a grid."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr.toml").write_text(GRID)
    return tmp_path


def test_what_begins_a_grid_loads_no_numpy_and_plans_and_states_of_runs_nothing_that_fits_or_trains(here):
    code = """
import sys
from pathlib import Path
from launch import cli
from launch.store import Store

codes = [cli.main(["list", "studies"]), cli.main(["init", "begun.toml"])]
light = {"numpy"} & set(sys.modules)
codes.append(cli.main(["plan", "lr.toml", "--nomemory", "--out", "out"]))
one, other, *_ = Store(Path("out")).plan.runs()
for command in (["config", "show", "out", one], ["config", "diff", "out", one, other], ["status", "out"]):
    codes.append(cli.main(command))
heavy = {"jax", "flax", "optax", "orbax", "scipy", "altair", "seqio"} & set(sys.modules)
print(light, heavy, codes)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1:] == ["set() set() [0, 0, 0, 0, 0, 0]"], ran.stderr


def test_values_that_are_added_later_keep_what_is_done(here, capsys):
    assert isoflop("plan", "lr.toml", "--out", "out", "--nomemory") == 0
    assert "out: 4 runs added" in capsys.readouterr().out
    store = Store(here / "out")
    done, *_ = before = list(store.plan.runs())
    (store.root / "done" / done).write_text('{"flops_per_second": 1e9}')
    (here / "lr.toml").write_text(GRID.replace("0.02", "0.02, 0.03"))
    assert isoflop("study", "lr.toml", "--out", "out") == 2
    assert "`isoflop plan lr.toml --out out` plans it, and keeps the runs" in capsys.readouterr().err
    assert isoflop("plan", "lr.toml", "--out", "out", "--set", "seeds=[0]", "--nomemory") == 0
    out = capsys.readouterr().out
    assert "out: 1 run added" in out and "2 runs no longer in the study, set aside" in out
    assert store.states()[done] == "done" and set(before) < set(store.plan.runs())


def test_the_folder_is_all_that_a_grid_needs(here, capsys):
    assert isoflop("plan", "lr.toml", "--out", "out", "--set", "optimizer.b2=0.9", "--nomemory") == 0
    (here / "lr.toml").unlink()
    shutil.move(here / "out", here / "moved")
    store = Store(here / "moved")
    study = study_file.load(store).prepared()
    assert {run.run_id for run in study.stages[0].plan(None)} == set(store.plan.runs())  # type: ignore
    assert study.stages[0].plan(None)[0].optimizer.b2 == 0.9  # type: ignore
    shell = ["--base", "transformer", "--vary", "model.d_model=16,24", "--set", "optimizer.lr=0.01"]
    assert isoflop("plan", *shell, "--out", "moved", "--nomemory") == 0
    assert "4 runs no longer in the study" in capsys.readouterr().out
    assert not (here / "moved" / "grid.toml").exists()
    assert len(study_file.load(store).stages[0].plan(None)) == 2  # type: ignore
    (here / "moved" / "grid.json").unlink()
    with pytest.raises(ValueError, match=r"grid\.json is gone"):
        study_file.load(store)


def test_the_shell_says_what_a_file_says(here, capsys):
    shell = ["--base", "transformer", "--vary", "optimizer.lr=0.01,2e-2", "--set", "model.d_model=16"]
    as_json = ["--json", "--nomemory"]
    assert isoflop("plan", *shell, "--vary", "seed=0,1", "--set", "n_tokens=10240", *as_json) == 0
    from_shell = json.loads(capsys.readouterr().out)
    assert isoflop("plan", "lr.toml", *as_json) == 0
    assert json.loads(capsys.readouterr().out) == from_shell
    names = ["--vary", "optimizer.name=adamw,lion", "--zip", "seed=1,2", "--zip", "model.windows=[0],[0,8]"]
    assert isoflop("plan", *shell, *names, "--where", "optimizer.lr < 0.02", *as_json) == 0
    configs = [run["config"] for run in json.loads(capsys.readouterr().out)["grid"]]
    found = [(each["optimizer"]["name"], each["seed"], each["model"]["windows"]) for each in configs]
    assert found == [(name, *pair) for name in ("adamw", "lion") for pair in ((1, [0]), (2, [0, 8]))]
    for wrong, said in (
        (["lr.toml", *shell], "a grid by --base, got"),
        (["--where", "seed < 1"], "--where without --base"),
        (["--base", "rnn", "--vary", "seed"], "expected FIELD=V1,V2"),
        (["--vary", "seed=1", "--vary", "seed=2"], "seed is there already"),
    ):
        assert isoflop("plan", *wrong) == 2
        assert said in capsys.readouterr().err


def test_what_could_be_no_run_is_named_and_what_runs_cost_is_told(here, capsys):
    assert isoflop("plan", "lr.toml", "--set", "vary.model.d_model=[12, 16]", "--out", "out") == 2
    assert not (here / "out").exists()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "isoflop: 4 of 8 combinations cannot be runs:" and len(lines) == 6
    assert (
        lines[1]
        == "  optimizer.lr=0.01 model.d_model=12 seed=0: model: d_model=12; the ladder has multiples of 8"
    )
    (here / "binary.toml").write_bytes(b"base = \xff")
    assert isoflop("plan", "binary.toml") == 2 and "is no text in UTF-8" in capsys.readouterr().err
    assert isoflop("plan", "none.yaml") == 2 and "none.yaml: No such file" in capsys.readouterr().err
    (here / "site.toml").write_text("[cost]\nper_hour = 3600\ncurrency = 'EUR'\n")
    plan = ["plan", "lr.toml", "--set", "vary.optimizer.lr=[0.01, 1e-2]", "--nomemory", "--out", "out"]
    for with_site in (["--site", "site.toml"], []):  # prices stay with the study
        assert isoflop(*plan, *with_site) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "grid: 2 runs"
        assert "duplicate: optimizer.lr=0.01 seed=0 is there twice" in lines
        (cost,) = [line for line in lines if line.startswith("cost: ")]
        assert "worker-hours" in cost and cost.endswith("EUR")


OWN = """
import dataclasses
import optax
from models.configs import transformer
from models.families.transformer import build

@dataclasses.dataclass(frozen=True)
class Config(transformer.TransformerConfig):
    mine: int = 1
    family: str = "own"

class own:
    Config, build, count = Config, staticmethod(build), staticmethod(transformer.count)

    @staticmethod
    def ladder(d_model, vocab_size):
        return Config(**vars(transformer.ladder(d_model, vocab_size)))

def momentum(axes, hyper):
    return optax.trace(0.9)
"""


def test_models_and_optimizers_of_ones_own_are_swept_once_the_command_line_names_their_file(here, capsys):
    (here / "own.py").write_text(OWN)
    text = "base = {n_tokens = 10_240, model.d_model = 16, optimizer.lr = 0.01}\n"
    text += '[vary]\npreset = ["rnn", "own.py:own"]\noptimizer.name = ["lion", "own.py:momentum"]\n'
    (here / "own.toml").write_text(text)
    assert isoflop("plan", "own.toml", "--out", "out") == 2
    assert "no preset 'own.py:own'; a file of your own runs only if you name it" in capsys.readouterr().err
    as_json = ["--json", "--nomemory"]
    assert isoflop("plan", "own.toml", "--code", "own.py", "--set", "model.mine=2", *as_json) == 2  # no rnn's
    assert "no field 'mine'" in capsys.readouterr().err
    assert isoflop("plan", "own.toml", "--code", "own.py", *as_json) == 0
    configs = [run["config"] for run in json.loads(capsys.readouterr().out)["grid"]]
    kinds = [(each["model"]["family"][:10], each["optimizer"]["name"][:15]) for each in configs]
    assert kinds == [(m, o) for m in ("rnn", "own.py:own") for o in ("lion", "own.py:momentum")]
    shell = ["--vary", "optimizer.lr=0.01,0.02", "--set", "model.d_model=16", "--set", "n_tokens=10240"]
    assert isoflop("plan", "--base", "own.py:own", *shell, "--set", "model.mine=3", *as_json) == 0
    configs = [run["config"] for run in json.loads(capsys.readouterr().out)["grid"]]
    assert [each["model"]["mine"] for each in configs] == [3, 3]


GUIDE = (Path(__file__).parents[4] / "docs/howto/grids.md").read_text()
BLOCK = re.compile(r'^```(toml|sh)(?: title="(\S+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_guide_are_planned_as_they_are_written(here, capsys):
    """Commands that train are in the slow test."""
    ran = 0
    for kind, name, text in BLOCK.findall(GUIDE):
        if kind == "toml":
            (here / name).write_text(text)
        for command in text.splitlines() if kind == "sh" else ():
            _, verb, *arguments = shlex.split(command, comments=True)
            if verb == "plan":
                assert isoflop(verb, *arguments, "--nomemory") == 0, command
                ran += 1
    assert ran >= 5
    out = capsys.readouterr().out
    assert "grid: 12 runs" in out and "tune: 12 runs" in out and "schedule.name" in out


@pytest.mark.slow
def test_a_grid_of_the_guide_goes_from_stage_to_stage_and_verifies(here, capsys):
    """Its runs have the losses of a planted law; fits, prediction and page are real."""
    (text,) = [text for _, name, text in BLOCK.findall(GUIDE) if name == "widths.toml"]
    (here / "widths.toml").write_text(text)
    store, plan = Store(here / "out"), ["plan", "widths.toml", "--out", "out", "--nomemory"]
    for added in ("12 runs added", "12 runs added", "1 run added"):
        assert isoflop(*plan, "--set", "n_bootstrap=50") == 0
        assert f"out: {added}" in capsys.readouterr().out
        for run_id, run in store.plan.runs().items():
            if store.states()[run_id] == "planned":
                planted = {"loss": loss(run.n_params, run.n_tokens, run.config["optimizer"]["lr"])}
                sizes = {"n_tokens": run.n_tokens, "d_model": run.config["model"]["d_model"]}
                lease = store.claim(run_id)
                assert lease and store.finish(lease, row(run) | planted | sizes)
    assert isoflop("submit", "out") == 0
    said = capsys.readouterr().out
    table = pd.read_csv(here / "out" / "runs.csv")
    assert dict(table.stage.value_counts()) == {"tune": 12, "grid": 12, "verify": 1}
    verification = json.loads((here / "out" / "verify.json").read_text())
    assert verification["flops"] == pytest.approx(8 * 3.6e11, rel=0.01)
    assert verification["measured"] == pytest.approx(table.loss.iloc[-1])
    assert verification["lo"] < verification["measured"] < verification["hi"]
    assert "lowest losses of 12 settings" in said and "inside the interval" in said
    assert (here / "out" / "report.html").exists()
    assert isoflop("study", "widths.toml", "--out", "out", "--set", "n_bootstrap=50") == 0
    assert "inside the interval" in capsys.readouterr().out  # there is nothing left to do
