"""Files of the user's own: only a command line runs them, and only the content that it names."""

import hashlib
import json

import pytest

from experiments.config import RunConfig
from experiments.data.tasks import find_task
from experiments.evaluate.checkpoint_comparison import find_task as task_to_evaluate
from experiments.fields import from_json, to_json
from experiments.files import user_code
from experiments.training.optim import find_direction
from launch import cli
from launch.store import Store, study_file
from models import FAMILIES, build, count, ladder

MINE = """
from dataclasses import dataclass
from types import SimpleNamespace

import optax

from experiments.config import OptimizerConfig, RunConfig, ScheduleConfig
from experiments.data.tasks import TextTask
from experiments.data_configs import DataConfig
from experiments.evaluate.tasks.builtin_tasks import BuiltinTask
from experiments.evaluate.tasks.task import Item
from experiments.fields import apply_overrides
from experiments.studies import Stage, Study
from models import ladder as ladder_of
from models.configs import transformer
from models.configs.transformer import TransformerConfig
from models.families.transformer import build


@dataclass(frozen=True)
class Config(TransformerConfig):
    family: str = "mine"


def ladder(d_model, vocab_size):
    return Config(**vars(transformer.ladder(d_model, vocab_size)) | {"family": "mine"})


family = SimpleNamespace(Config=Config, build=build, count=transformer.count, ladder=ladder)
corpus = TextTask("text", "mine", lambda config: {}, lambda config, skipped: None)
asked = BuiltinTask("a task", lambda rng: Item("a", "b", ("b", "c", "d", "e")))


def direction(axes, hyper):
    return optax.trace(decay=hyper["b1"])


@dataclass(frozen=True)
class Settings:
    family: str = "transformer"
    optimizer: OptimizerConfig = OptimizerConfig(lr=0.1)


def study(overrides):
    settings = apply_overrides(Settings(), overrides)
    run = RunConfig(
        ladder_of(16, 259, settings.family), DataConfig(), settings.optimizer, ScheduleConfig(), 64, 32, 128
    )
    return Study("mine", "one run", settings, (Stage("one", lambda runs: [run]),), lambda folder, runs: "")
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


@pytest.fixture
def as_a_command():
    """What runs in a test is forgotten after it, as after a command."""
    with user_code.of_one_command():
        yield


def test_what_a_file_defines_is_found_by_its_name_and_content(file, as_a_command):
    at = hashlib.sha256(MINE.encode()).hexdigest()[:12]
    assert user_code.run_named(f"family={file}:family") == f"family=mine.py:family@{at}"
    assert (
        user_code.run_named(f'families=["moe","{file}:family"]') == f'families=["moe","mine.py:family@{at}"]'
    )
    assert user_code.run_named("data.path=a.py/x:y") == "data.path=a.py/x:y"
    config = ladder(16, 259, f"mine.py:family@{at}")
    assert config.family == f"mine.py:family@{at}" and count(config) == count(ladder(16, 259))
    assert build(config).config is config
    assert find_task(f"mine.py:corpus@{at}").licence == "mine"
    assert callable(find_direction(f"mine.py:direction@{at}"))
    assert task_to_evaluate(f"mine.py:asked@{at}", 3).items[0].target == "b"
    assert user_code.qualified({"a": ["mine.py:family", "no.py:x"]}) == {
        "a": [f"mine.py:family@{at}", "no.py:x"]
    }
    with pytest.raises(
        ValueError, match=r"mine.py:nothing: no such name in the file; it has .*family, corpus"
    ):
        user_code.run_named(f"family={file}:nothing")
    with pytest.raises(ValueError, match=rf"data.task=mine.py:asked@{at}: .*it is not a TextTask"):
        find_task(f"mine.py:asked@{at}")


def test_data_run_nothing_and_say_what_to_name(file):
    name = "mine.py:family@" + hashlib.sha256(MINE.encode()).hexdigest()[:12]
    for find in (find_task, find_direction, task_to_evaluate):
        with pytest.raises(
            ValueError, match=r"a file of your own runs only if you name it: add --code mine.py"
        ):
            find(name)
    with user_code.of_one_command():
        user_code.run(str(file))
        values = to_json(user_code.load(str(file)).module.study([f"family={name}"]).stages[0].plan(None)[0])
    assert values["model"]["family"] == name and name not in FAMILIES
    with pytest.raises(ValueError, match=r"code of your own runs only if you name its file: --code"):
        from_json(RunConfig, values)


def test_other_content_is_another_run_and_no_other_content_runs(file, as_a_command):
    first = user_code.run(str(file))
    ids = [first.module.study([f"family={first.name_of('family')}"]).stages[0].plan(None)[0].run_id]
    file.write_text(MINE + "# changed\n")
    with pytest.raises(ValueError, match=r"mine.py: its content is not what was named"):
        user_code.load(f"{file}@{first.sha256}")
    second = user_code.run(str(file))
    ids.append(second.module.study([f"family={second.name_of('family')}"]).stages[0].plan(None)[0].run_id)
    assert ids[0] != ids[1]
    file.write_text("1 / 0")
    with pytest.raises(ValueError, match=r"mine.py: the file failed: ZeroDivisionError"):
        user_code.run(str(file))


def test_a_study_keeps_what_it_was_planned_with_for_its_workers(file, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "study"
    settings = ["--set", f"family={file}:family", "--set", f"optimizer.name={file}:direction"]
    assert cli.main(["plan", str(file), *settings, "--out", str(folder), "--nomemory"]) == 0
    assert user_code.RUN == []  # of that command
    sha256 = hashlib.sha256(MINE.encode()).hexdigest()
    copy = folder / "code" / sha256[:12] / "mine.py"
    assert copy.read_text() == MINE
    said = json.loads((folder / "study.json").read_text())
    assert said["overrides"][0] == f"family=mine.py:family@{sha256[:12]}"
    file.unlink()
    capsys.readouterr()
    assert cli.main(["submit", str(folder), "--on", "kubernetes"]) == 2
    assert f"runs only if you name it: add --code {copy}\n" in capsys.readouterr().err
    site = tmp_path / "site.toml"
    site.write_text(f'[kubernetes]\nimage = "x"\nclaim = "x"\nmount = "{tmp_path}"\n[slurm]\ntime = "30"\n')
    for backend, processes in (("kubernetes", ("driver", "worker")), ("slurm", ("worker", "controller"))):
        command = ["submit", str(folder), "--on", backend, "--site", str(site), "--dry-run"]
        assert cli.main([*command, "--code", str(copy)]) == 0
        said = "".join(capsys.readouterr().out.split())  # lines are wrapped
        assert said.count(f"--code={copy}@{sha256}") == len(processes), backend
    with user_code.of_one_command():
        user_code.run(str(copy))
        flags = study_file.worker_code(Store(folder), "/studies/x")
        assert flags == [f"--code=/studies/x/code/{sha256[:12]}/mine.py@{sha256}"]
        assert study_file.load(Store(folder)).settings.optimizer.name == f"mine.py:direction@{sha256[:12]}"
    with pytest.raises(ValueError, match="runs only if you name it: add --code"):
        study_file.load(Store(folder))
