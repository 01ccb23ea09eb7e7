"""`isoflop sft`: from a checkpoint and a file of conversations to a run that answers."""

import copy
import dataclasses
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.data.vocab import load_vocab
from experiments.evaluate.loaded_model import chat_template, load_model
from experiments.evaluate.samples.conversation import converse
from experiments.objective_configs import ExamplesConfig, SFTConfig
from experiments.posttraining.data.conversations import Turn
from experiments.training.objectives import data_of
from experiments.training.train import train
from launch.arguments.posttraining import keep_tokenizer, run_from
from launch.cli import command_module
from models.decoding.settings import SamplingSettings
from tests.tiny_run import Hooks, isoflop

pytestmark = pytest.mark.usefixtures("cache_of_run")
TURNS = [{"role": "user", "content": "say {}"}, {"role": "assistant", "content": "ok"}]
JINJA = """{% for message in messages %}{{ message.role[0] }}:
{%- if message.role == "assistant" %}{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}
{%- else %}{{ message.content }}
{% endif %}{% endfor %}{% if add_generation_prompt %}a:{% endif %}"""


def write(path: Path, n: int = 120) -> str:
    lines = [
        {"messages": [turn | {"content": turn["content"].format(i)} for turn in TURNS]} for i in range(n)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


FLAGS = ["--epochs=10", "--lr=0.03", "--batch_size=8", "--micro_batches=2"]


def flag_values(*arguments: str):
    values = copy.deepcopy(command_module("sft").FLAGS)
    values(["sft", *arguments])
    return values


@pytest.fixture(scope="module")
def taught(run, tmp_path_factory):
    """A run that always answers "ok", and the file that taught it."""
    folder = tmp_path_factory.mktemp("sft")
    data = write(folder / "a.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ISOFLOP_CACHE", str(run.parents[2] / "cache"))
        config = run_from(str(run), ExamplesConfig("conversations", data), SFTConfig(), flag_values(*FLAGS))
        row = train(config, folder / "run", Hooks())
    (folder / "run/result.json").write_text(json.dumps(row))
    return folder / "run", data


def test_a_checkpoint_is_taught_to_answer(taught, run, capsys):
    folder, _ = taught
    row = json.loads((folder / "result.json").read_text())
    added = row["post_training"]
    assert row["loss"] < 0.1 and added["accuracy"] > 0.95 and added["objective"] == "sft"
    assert added["init"] == str(run.absolute()) and 9 < row["epochs"] < 11
    assert row["data"]["splits"]["train"]["n_examples"] > 100
    assert "nats per response token" in row["conventions"]["loss"]
    config = json.loads((folder / "config.json").read_text())
    assert len(config["examples"]["fingerprint"]) == 64 and config["micro_batches"] == 2
    assert isoflop("sample", str(folder), "--chat", "--prompt", "say 3", "--temperature", "0") == 0
    assert capsys.readouterr().out == "say 3\nok\n"
    assert isoflop("sample", str(folder), "--chat", "--prompt", "say 3", "--json", "--max_tokens", "9") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["prompt_tokens"] == [1, 8, *(ord(letter) + 3 for letter in "say 3"), 1, 9]
    assert said["samples"][0]["finish"] == "eos"


def test_a_conversation_goes_on_in_view_of_what_was_said_until_its_context_is_full(
    taught, capsys, monkeypatch
):
    folder, _ = taught
    loaded = load_model(folder)
    seen, template = [], chat_template(loaded)
    recording = dataclasses.replace(
        template, parts=lambda *given: seen.append(given[0]) or template.parts(*given)
    )
    greedy = {"settings": SamplingSettings(0), "seed": 0, "max_tokens": 9, "stream": False}
    lines = [f"say {i}" for i in range(20)]
    turns = converse(loaded, recording, lines, **greedy)
    printed = capsys.readouterr()
    assert turns[0] == Turn("user", "say 0") and turns[1] == Turn("assistant", "ok")
    assert [len(each) for each in seen] == [2 * i + 1 for i in range(len(seen))] and 1 < len(seen) < 20
    assert all(each == tuple(turns[: len(each)]) for each in seen[:-1])
    assert printed.out.splitlines() == [turn.content for turn in turns if turn.role == "assistant"]
    n_tokens = len(template.prompt(tuple(turns)))
    assert n_tokens + 8 > loaded.config.seq_len  # another turn of the user would not have fitted
    assert printed.err.startswith(f"the conversation fills the {loaded.config.seq_len} tokens")

    monkeypatch.setattr(sys, "stdin", io.StringIO("say 1\n\nsay 2\n"))
    assert isoflop("sample", str(folder), "--chat", "--temperature=0") == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        turn.content for turn in converse(loaded, template, ["say 1", "say 2"], **greedy)[1::2]
    ]
    assert said.err == ""
    assert isoflop("sample", str(folder), "--chat", "--n=2") == 2
    assert "--n with --chat and no prompt, which is a conversation" in capsys.readouterr().err


def test_the_command_makes_this_run_and_says_it_again_when_it_is_done(taught, run):
    folder, data = taught
    stamp = (folder / "result.json").stat().st_mtime_ns
    command = [sys.executable, "-m", "launch.cli", "sft", str(run), data, "--out", str(folder), *FLAGS]
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)  # signals are its own
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("done: loss ") and " epochs of 1" in again.stdout
    assert (folder / "result.json").stat().st_mtime_ns == stamp


def test_what_was_taught_is_exported(taught, tmp_path, capsys):
    folder, _ = taught
    assert isoflop("export", str(folder), "--out", str(tmp_path / "hf")) == 0
    one, other = load_model(folder), load_model(tmp_path / "hf")
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    assert isoflop("import", str(tmp_path / "hf"), "--out", str(tmp_path / "back")) == 0
    for name in ("hf", "back"):
        capsys.readouterr()
        assert isoflop("sample", str(tmp_path / name), "--chat", "--prompt=say 5", "--temperature=0") == 0
        assert capsys.readouterr().out == "say 5\nok\n"


def test_a_foreign_checkpoint_brings_its_tokenizer(run, tmp_path):
    assert isoflop("export", str(run), "--out", str(tmp_path / "hf")) == 0
    (tmp_path / "hf/isoflop.json").unlink()
    (tmp_path / "hf/tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    values = flag_values("--epochs=2", "--batch_size=8", "--lora_rank=2")
    examples = ExamplesConfig("conversations", write(tmp_path / "a.jsonl"))
    config = run_from(str(tmp_path / "hf"), examples, SFTConfig(), values)
    assert config.data.vocab == "imported" and load_vocab(config.data).encode("a") == [100]
    assert config.optimizer.lr == 1e-5 and config.init.lora.rank == 2 and config.init.train == ()
    rows = data_of(config).manifest["splits"]["train"]["n_rows"]
    assert config.n_steps == round(2 * rows / 8)
    values = flag_values("--set=n_tokens=768", "--set=optimizer.weight_decay=0", "--batch_size=8")
    other = run_from(str(tmp_path / "hf"), examples, SFTConfig(), values)
    assert other.n_steps == 3 and other.optimizer.weight_decay == 0 and other.init.lora is None
    assert config.examples.fingerprint == data_of(config).manifest["fingerprint"] != ""


def test_a_jinja_template_goes_with_the_run(taught, tmp_path, capsys):
    folder = shutil.copytree(taught[0], tmp_path / "run")
    (tmp_path / "mine.jinja").write_text(JINJA)
    config = load_model(folder).config
    examples = dataclasses.replace(config.examples, template=str(tmp_path / "mine.jinja"))
    keep_tokenizer(dataclasses.replace(config, examples=examples), folder)
    (tmp_path / "mine.jinja").unlink()
    assert isoflop("sample", str(folder), "--chat", "--prompt", "x", "--json", "--max_tokens=2") == 0
    prompt = json.loads(capsys.readouterr().out)["prompt_tokens"]
    assert bytes(token - 3 for token in prompt).decode() == "u:x\na:"


def test_the_template_of_another_run_is_not_replaced(run, taught, tmp_path, capsys):
    folder = shutil.copytree(taught[0], tmp_path / "run")
    (folder / "chat_template.jinja").write_text("its own")
    (tmp_path / "mine.jinja").write_text(JINJA)
    data = write(tmp_path / "a.jsonl")
    flags = [data, "--out", str(folder), "--template", str(tmp_path / "mine.jinja")]
    assert isoflop("sft", str(run), *flags) == 2
    assert "holds a run of another configuration" in capsys.readouterr().err
    assert (folder / "chat_template.jinja").read_text() == "its own"


@pytest.mark.parametrize("flag", ["--epochs=inf", "--epochs=1e300", "--lr=0", "--lr=inf", "--batch_size=1e9"])
def test_numbers_that_no_training_has_are_refused(flag, run, tmp_path, capsys):
    conversation = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    data = tmp_path / "a.jsonl"
    data.write_text("".join(json.dumps(conversation) + "\n" for _ in range(100)))
    assert isoflop("sft", str(run), str(data), "--out", str(tmp_path / "run"), flag) == 2
    said = capsys.readouterr().err
    assert (
        flag.split("=")[0].strip("-").removesuffix("_size") in said
        and said.count("\n") == 1
        and not (tmp_path / "run").exists()
    )


def test_wrong_input_is_said_in_one_line(run, tmp_path, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"messages": [{"role": "user", "content": "?"}]}\n')
    assert isoflop("sft", str(run), str(bad), "--out", str(tmp_path / "run")) == 2
    said = capsys.readouterr().err
    assert f"{bad}:1: no turn of the assistant (user)" in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()
    assert isoflop("sft", str(run)) == 2
    assert isoflop("sample", str(run), "--chat", "--prompt", "x") == 2
