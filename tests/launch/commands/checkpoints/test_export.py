"""`isoflop export`: our own run comes back from Hugging Face's format as it was; what is refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import models
from experiments.data.vocab import ByteVocab, HuggingFaceVocab
from experiments.fields import to_json
from experiments.objective_configs import ExamplesConfig, GoldConfig, RewardConfig
from experiments.training.checkpoints.checkpoint import Checkpoints
from experiments.training.checkpoints.load import load
from models.layers.heads import scalar
from tests.extras import extra
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
    tokenizer = extra("tokenizers", "dev").Tokenizer.from_file(str(tmp_path / "hf/tokenizer.json"))
    text = "Grüße,\n 2 €\x00"
    ids = tokenizer.encode(text).ids
    assert ids == [1, *ByteVocab().encode(text)] and tokenizer.decode(ids) == text
    assert HuggingFaceVocab(tmp_path / "hf/tokenizer.json", 1).token_bytes() == ByteVocab().token_bytes()
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


def test_a_reward_model_is_exported_with_its_head(run, tmp_path):
    config = load(run)[0]
    gold = ExamplesConfig("gold", gold=GoldConfig())
    config = dataclasses.replace(config, objective=RewardConfig(), examples=gold)
    params = jax.jit(scalar(models.build(config.model)).init)(jax.random.key(0))
    params["head"]["w"] += np.arange(config.model.d_model, dtype=np.float32)[:, None]
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text(json.dumps(to_json(config)))
    checkpoints = Checkpoints(tmp_path / "run/checkpoints")
    checkpoints.save(1, params, {"none": np.zeros(1)}, {"step": 1})
    checkpoints.close()
    assert isoflop("export", str(tmp_path / "run"), "--out", str(tmp_path / "hf")) == 0
    fields = json.loads((tmp_path / "hf/config.json").read_text())
    assert fields["architectures"] == ["LlamaForSequenceClassification"] and len(fields["id2label"]) == 1
    score = load_file(tmp_path / "hf/model.safetensors")["score.weight"]
    np.testing.assert_array_equal(score, np.asarray(params["head"]["w"]).T)


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
