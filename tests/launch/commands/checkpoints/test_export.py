"""`isoflop export`: our own run comes back from Hugging Face's format as it was; what is refused."""

import json

import jax
import numpy as np
import pytest

from experiments.training.checkpoints.load import load
from tests.tiny_run import isoflop

pytestmark = pytest.mark.usefixtures("cache_of_run")


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
    (before, ours), (after, again) = load(run), load(tmp_path / "run")
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tests/data", "--out", "OUT"], "neither a run"),
        (["tests/data"], "usage: isoflop export CKPT --out DIR_HF"),
        (["RUN", "--out", "tests/data"], "is there already"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(run, arguments, said, tmp_path, capsys):
    words = {"OUT": str(tmp_path / "out"), "RUN": str(run)}
    assert isoflop("export", *[words.get(word, word) for word in arguments]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())
