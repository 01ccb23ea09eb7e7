"""`isoflop import` and `isoflop export`: round trips, what they keep, what they refuse."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_run import isoflop, make_study

from experiments import checkpoint
from models import hf

GOLDEN = Path("tests/data/hf/qwen3")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exchange")
    return make_study(folder / "study", folder / "cache")


@pytest.fixture(autouse=True)
def cache(run, monkeypatch):
    monkeypatch.setenv("ISOFLOP_CACHE", str(run.parents[2] / "cache"))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(run.parents[2] / "xla"))


def test_an_imported_checkpoint_is_a_run_and_exports_as_it_was(tmp_path, capsys):
    source = tmp_path / "hub"
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        (source / name).write_bytes((GOLDEN / name).read_bytes())
    (source / "tokenizer.json").write_text("{}")
    assert isoflop("import", str(source), "--out", str(tmp_path / "run")) == 0
    assert "parameters, transformer" in capsys.readouterr().out
    config, params = checkpoint.load(tmp_path / "run")
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


def test_our_own_run_comes_back_with_its_vocabulary(run, tmp_path, capsys):
    study = run.parents[1]
    (study / "verify.json").write_text(json.dumps({"run_id": run.name}))
    try:
        assert isoflop("export", str(study), "--out", str(tmp_path / "hf")) == 0
    finally:
        (study / "verify.json").unlink()
    said = capsys.readouterr()
    assert "LlamaForCausalLM" in said.out and str(run) in said.err
    fields = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert fields["max_position_embeddings"] == 32
    assert isoflop("import", str(tmp_path / "hf"), "--out", str(tmp_path / "run")) == 0
    (before, ours), (after, again) = checkpoint.load(run), checkpoint.load(tmp_path / "run")
    assert (after.data, after.seq_len, after.optimizer) == (before.data, before.seq_len, before.optimizer)
    jax.tree.map(np.testing.assert_array_equal, again, ours)
    capsys.readouterr()
    texts = []
    for folder in (run, tmp_path / "run"):
        assert (
            isoflop("sample", str(folder), "--prompt", "Re", "--temperature", "0", "--max_tokens", "5") == 0
        )
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]


def test_the_context_and_the_compute_type_can_be_chosen(tmp_path):
    arguments = ["--out", str(tmp_path / "run"), "--seq_len", "16", "--dtype", "bfloat16"]
    assert isoflop("import", str(GOLDEN), *arguments) == 0
    config, _ = checkpoint.load(tmp_path / "run")
    assert (config.seq_len, config.model.dtype) == (16, "bfloat16")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["import", str(GOLDEN)], "usage: isoflop import DIR_HF --out CKPT"),
        (["import", "tests/data", "--out", "OUT"], "tests/data is no checkpoint: it has no config.json"),
        (["import", str(GOLDEN), "--out", "OUT", "--vocab", "bytes"], "needs 259 tokens"),
        (["import", str(GOLDEN), "--out", "tests/data"], "is there already"),
        (["export", "tests/data", "--out", "OUT"], "neither a run"),
        (["export", "tests/data"], "usage: isoflop export CKPT --out DIR_HF"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(arguments, said, tmp_path, capsys):
    arguments = [str(tmp_path / "out") if word == "OUT" else word for word in arguments]
    assert isoflop(*arguments) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
