"""Heads as …ForSequenceClassification: transformers gives the same rewards and probabilities of classes."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import models
from models import MuP, TransformerConfig, hf, ladder
from models.layers.heads import classifier, scalar
from models.model import last_token
from tests.extras import extra

SMALL = TransformerConfig(vocab_size=31, d_model=16, n_layers=2, n_heads=4, n_kv_heads=2, d_head=4, d_ff=24)
NETWORKS = {
    "llama": SMALL,
    "mup": dataclasses.replace(SMALL, mup=MuP(8, 1, 4), tied_embeddings=True, embedding_scale=3.0),
    "qwen3": dataclasses.replace(SMALL, qk_norm="head"),
    "gpt2": dataclasses.replace(
        hf.load_config(Path("tests/data/hf/gpt2-inner")), tied_embeddings=False, embedding_scale=2.0
    ),
}
LENGTHS = np.array([9, 4])


def headed(config, n):
    """A network with a head of n outputs: functions, parameters and padded tokens int32[2,9]."""
    model, rng = models.build(config), np.random.default_rng(1)
    functions = scalar(model) if n == 1 else classifier(model, n)
    shapes = jax.eval_shape(functions.init, jax.random.key(0))
    params = jax.tree.map(lambda p: rng.normal(0.2, 0.3, p.shape).astype(np.float32), shapes)
    tokens_BT = rng.integers(1, config.vocab_size, (2, 9), dtype=np.int32)
    return functions, params, np.where(np.arange(9) < LENGTHS[:, None], tokens_BT, 0)


@pytest.mark.parametrize(("name", "n"), [("llama", 1), ("mup", 1), ("gpt2", 3)])
def test_the_checkpoint_has_a_score_in_place_of_the_head(name, n, tmp_path):
    _, params, _ = headed(NETWORKS[name], n)
    hf.save(NETWORKS[name], params["body"], tmp_path / "out", head=params["head"])
    config = json.loads((tmp_path / "out/config.json").read_text())
    tensors = load_file(tmp_path / "out/model.safetensors")
    assert config["architectures"][0].endswith("ForSequenceClassification")
    assert len(config["id2label"]) == n and config["pad_token_id"] == 0
    assert "lm_head.weight" not in tensors and tensors["score.weight"].shape == (n, config_width(config))
    hf.save(NETWORKS[name], params["body"], tmp_path / "plain")
    plain = load_file(tmp_path / "plain/model.safetensors")
    others = set(plain) - {"lm_head.weight"}
    assert set(tensors) == others | {"score.weight"}
    # The final norm times the score is what the network's final norm times its head was.
    final = next(name for name in ("model.norm.weight", "transformer.ln_f.weight") if name in tensors)
    theirs = tensors["score.weight"] * tensors[final]
    ours = np.asarray(params["head"]["w"]).T * np.asarray(params["body"]["ends"]["final_norm"]["scale"])
    np.testing.assert_allclose(theirs, ours, rtol=1e-5)
    assert config.get("score_bias") == (
        None if name == "gpt2" else pytest.approx(float(params["head"]["b"][0]))
    )
    if name == "gpt2":
        constant = tensors["score.weight"] @ tensors["transformer.ln_f.bias"]
        bias = np.asarray(params["body"]["ends"]["final_norm"]["bias"]) @ params["head"]["w"]
        np.testing.assert_allclose(constant, bias + params["head"]["b"], rtol=1e-4)


def config_width(config):
    return config.get("hidden_size") or config["n_embd"]


def test_heads_without_a_place_are_refused(tmp_path):
    _, params, _ = headed(SMALL, 3)
    with pytest.raises(ValueError, match=r"head: biases .* differ, and …ForSequenceClassification has none"):
        hf.save(SMALL, params["body"], tmp_path / "out", head=params["head"])
    rwkv = ladder(16, 31, "rwkv4")
    _, params, _ = headed(rwkv, 1)
    with pytest.raises(ValueError, match="head: rwkv has no …ForSequenceClassification; allowed are gemma2"):
        hf.save(rwkv, params["body"], tmp_path / "out", head=params["head"])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n"), [("llama", 1), ("mup", 1), ("qwen3", 1), ("gpt2", 1), ("gpt2", 3)])
def test_transformers_gives_the_same_outputs(name, n, tmp_path):
    torch, transformers = extra("torch", "hf"), extra("transformers", "hf")
    functions, params, tokens_BT = headed(NETWORKS[name], n)
    hf.save(NETWORKS[name], params["body"], tmp_path / "out", head=params["head"])
    plain = {"attn_implementation": "eager", "dtype": torch.float32}
    network = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", **plain)
    with torch.no_grad():
        theirs = network.eval()(input_ids=torch.from_numpy(tokens_BT).long()).logits.numpy()
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(functions.apply)(params, tokens_BT, LENGTHS)
    if n == 1:
        ours = last_token(ours, LENGTHS)[:, None]
        theirs = theirs + getattr(network.config, "score_bias", 0.0)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
