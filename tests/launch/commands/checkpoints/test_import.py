"""`isoflop import`: Hugging Face's checkpoints become runs and go back as they were; what is refused."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments.training.checkpoints.load import load
from models import hf
from tests.tiny_run import isoflop

GOLDEN = Path("tests/data/hf/qwen3")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_an_imported_checkpoint_is_a_run_and_exports_as_it_was(tmp_path, capsys):
    source = tmp_path / "hub"
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        (source / name).write_bytes((GOLDEN / name).read_bytes())
    (source / "tokenizer.json").write_text("{}")
    assert isoflop("import", str(source), "--out", str(tmp_path / "run")) == 0
    assert "parameters, transformer" in capsys.readouterr().out
    config, params = load(tmp_path / "run")
    model, expected = hf.load(GOLDEN)
    assert (config.model, config.seq_len) == (model, 128)  # max_position_embeddings
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    assert json.loads((tmp_path / "run" / "import.json").read_text())["from"] == str(source)
    assert isoflop("sample", str(tmp_path / "run"), "--prompt", "A") == 2
    assert "the vocabulary of this imported model cannot be read" in capsys.readouterr().err
    assert isoflop("export", str(tmp_path / "run"), "--out", str(tmp_path / "out")) == 0
    assert "Qwen3ForCausalLM" in capsys.readouterr().out
    before, after = load_file(GOLDEN / "model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    assert before.keys() == after.keys() and all((before[name] == after[name]).all() for name in before)
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"


def test_the_context_and_the_compute_type_can_be_chosen(tmp_path):
    arguments = ["--out", str(tmp_path / "run"), "--seq_len", "16", "--dtype", "bfloat16"]
    assert isoflop("import", str(GOLDEN), *arguments) == 0
    config, _ = load(tmp_path / "run")
    assert (config.seq_len, config.model.dtype) == (16, "bfloat16")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([str(GOLDEN)], "usage: isoflop import DIR_HF --out CKPT"),
        (["tests/data", "--out", "OUT"], "tests/data is no checkpoint: it has no config.json"),
        (
            [str(GOLDEN), "--out", "OUT", "--vocab", "bytes"],
            f"--vocab bytes needs 259 tokens; {GOLDEN} has 64",
        ),
        ([str(GOLDEN), "--out", "tests/data"], "is there already"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(arguments, said, tmp_path, capsys):
    arguments = [str(tmp_path / "out") if word == "OUT" else word for word in arguments]
    assert isoflop("import", *arguments) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())
