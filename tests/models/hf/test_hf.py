"""Hugging Face checkpoints: what transformers computes from them, what comes back, and what is refused.

tests/data/hf/make_goldens.py says how the goldens were made. Logits agree to 1e-4 in float32.
"""

import dataclasses
import functools
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import models
from models import Experts, Latent, MuP, RNNConfig, RopeScaling, TransformerConfig, hf, ladder
from models.hf.config_json import config_from_json
from tests.extras import extra

GOLDENS = sorted(path.parent for path in Path("tests/data/hf").glob("*/config.json"))
GOLDEN = pytest.mark.parametrize("folder", GOLDENS, ids=lambda path: path.name)
QUICK = (
    "deepseek-v3",
    "gemma2",
    "gpt2",
    "gpt-oss",
    "llama-yarn",
    "mixtral",
    "olmo2",
    "qwen3",
    "qwen3-moe-dense",
)
QUICK += ("rwkv4-rescaled", "rwkv7", "t5")  # by default
SMALL = TransformerConfig(vocab_size=31, d_model=16, n_layers=2, n_heads=4, n_kv_heads=2, d_head=6, d_ff=24)
MIX = Experts(n_experts=4, top_k=2, d_expert=10, dispatch="dropless")


@functools.cache
def loaded(folder: Path):
    return hf.load(folder)


@functools.cache
def tensors(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def config_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def write(folder: Path, fields: dict, tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    save_file(tensors, folder / "model.safetensors")
    return folder


# Small programs that run once: compiling is all the time they take.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize(
    "folder",
    [folder if folder.name in QUICK else pytest.param(folder, marks=pytest.mark.slow) for folder in GOLDENS],
    ids=lambda path: path.name,
)
def test_logits_and_greedy_continuation_are_those_of_transformers(folder):
    config, params = loaded(folder)
    golden, model = np.load(folder / "golden.npz"), models.build(config)
    inputs, steps = golden["input_ids"], golden["greedy_ids"].shape[1]
    source = {}
    if model.has_encoder:
        source = {"source_BS": inputs, "source_mask_BS": golden["attention_mask"].astype(bool)}
        inputs, prompt = golden["decoder_input_ids"], golden["decoder_input_ids"][:, :1]
    else:
        prompt = inputs

    @compiled
    def run(params, source):
        def step(state, _):
            logits_BV, cache = state
            token_B = logits_BV.argmax(-1).astype(jnp.int32)
            return model.decode(params, token_B, cache), token_B

        lengths_B = jnp.full(2, prompt.shape[1])
        state = model.prefill(params, prompt, lengths_B, prompt.shape[1] + steps, **source)
        _, tokens_TB = jax.lax.scan(step, state, length=steps)
        return model.apply(params, inputs, **source), tokens_TB.T

    with jax.default_matmul_precision("highest"):
        logits, continuation = run(params, source)
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-4)
    np.testing.assert_array_equal(continuation, golden["greedy_ids"])


@GOLDEN
def test_saved_again_it_is_the_same_checkpoint(folder, tmp_path):
    config, params = loaded(folder)
    if folder.name == "phi3-longrope":
        with pytest.raises(ValueError, match=r"'longrope' is not written.*beyond 64 tokens"):
            hf.save(config, params, tmp_path / "out")
        return
    hf.save(config, params, tmp_path / "out")
    if folder.name == "phi3":  # which others say, too
        assert config_of(tmp_path / "out")["model_type"] == "mistral"
        jax.tree.map(np.testing.assert_array_equal, hf.load(tmp_path / "out")[1], params)
        return
    before, after = tensors(folder), load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        # Gemma's scales are stored less one, which rounds.
        error = 1e-7 if "gemma" in folder.name and "norm" in name else 0
        np.testing.assert_allclose(after[name], tensor, rtol=0, atol=error, err_msg=name)
    assert config_of(tmp_path / "out").get("model_type") == config_of(folder).get("model_type")
    assert config_from_json(config_of(tmp_path / "out"))[1] == config


def test_tensors_that_do_not_fit_are_named(tmp_path):
    folder = Path("tests/data/hf/llama")
    fields, good = config_of(folder), tensors(folder)
    name = "model.layers.1.mlp.up_proj.weight"
    bad = [
        ({key: value for key, value in good.items() if key != name}, f"{name} is missing.*\\(112, 64\\)"),
        (good | {name: good[name].T.copy()}, f"{name} has shape \\(64, 112\\).*asks for \\(112, 64\\)"),
        (good | {"model.layers.3.mlp.up_proj.weight": good[name]}, "layers.3.mlp.up_proj.weight.*left over"),
        (good | {name: good[name] * np.float32(math.nan)}, f"7168 of 7168 numbers of {name} are not finite"),
        (good | {name: good[name].astype(np.int8)}, f"{name} is I8"),
    ]
    for each, said in bad:
        with pytest.raises(ValueError, match=said) as error:
            hf.load(write(tmp_path, fields, each))
        assert str(tmp_path) in str(error.value)


def test_known_extras_and_a_missing_base_prefix_are_accepted(tmp_path):
    folder = Path("tests/data/hf/gpt2-inner")
    bare = {name.removeprefix("transformer."): value for name, value in tensors(folder).items()}
    bare["lm_head.weight"] = bare["wte.weight"]
    bare["h.0.attn.bias"] = np.tril(np.ones((1, 1, 40, 40), np.float32))
    _, params = hf.load(write(tmp_path, config_of(folder), bare))
    jax.tree.map(np.testing.assert_array_equal, params, loaded(folder)[1])
    bare["h.0.attn.bias_2"] = bare["wte.weight"]
    with pytest.raises(ValueError, match=r"attn\.bias_2 of shape"):
        hf.load(write(tmp_path, config_of(folder), bare))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_read_as_float32(dtype, tmp_path):
    folder = Path("tests/data/hf/mixtral-wide")
    half = {name: value.astype(jnp.dtype(dtype)) for name, value in tensors(folder).items()}
    config, params = hf.load(write(tmp_path, config_of(folder) | {"dtype": dtype}, half))
    assert config == loaded(folder)[0]
    rounded = jax.tree.map(lambda p: np.asarray(p).astype(jnp.dtype(dtype)), loaded(folder)[1])
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.astype(np.float32)), params, rounded)


def test_the_compute_type_is_asked_for():
    config, params = hf.load(Path("tests/data/hf/qwen3"), dtype="bfloat16")
    assert config.dtype == "bfloat16"
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


OURS = {
    "ladder": ladder(32, 31),
    "odd-heads": dataclasses.replace(SMALL, d_model=18, rope_scaling=RopeScaling("linear", 2.0)),
    "scores": dataclasses.replace(SMALL, attention_scale=0.3, qkv_bias=True, output_bias=True),
    "mup": dataclasses.replace(SMALL, mup=MuP(8, 1, 4), tied_embeddings=True, embedding_scale=3.0),
    "mup-qk-norm": dataclasses.replace(SMALL, mup=MuP(8, 1, 4), qk_norm="head", windows=(4, 0)),
    "mup-post": dataclasses.replace(
        SMALL, mup=MuP(8, 1, 4), qk_norm="width", norm_position="post", embedding_scale=3.0
    ),
    "latent": dataclasses.replace(
        SMALL,
        n_kv_heads=4,
        mup=MuP(8, 1, 4),
        latent=Latent(5, 2, 7, q_rank=6),
        experts=dataclasses.replace(MIX, d_shared=20, dense_layers=(0,), scores="sigmoid", choice_bias=True),
        family="moe",
    ),
    "mup-moe": dataclasses.replace(SMALL, mup=MuP(8, 1, 4), experts=MIX, family="moe", qk_norm="head"),
    "gpt2": dataclasses.replace(
        loaded(Path("tests/data/hf/gpt2-inner"))[0], tied_embeddings=False, embedding_scale=2.0, max_len=16
    ),
}


def random_model(config) -> Any:
    """The configuration, parameters and tokens [2,9], all drawn by numpy: nothing to compile."""
    shapes, rng = jax.eval_shape(models.build(config).init, jax.random.key(0)), np.random.default_rng(1)
    params = jax.tree.map(lambda p: rng.normal(0.2, 0.3, p.shape).astype(np.float32), shapes)
    return config, params, rng.integers(0, config.vocab_size, (2, 9))


@pytest.mark.parametrize("name", OURS)
def test_our_own_models_are_exported_as_the_same_function(name, tmp_path):
    """Scales that an architecture does not have are folded into the parameters."""
    config, params, tokens_BT = random_model(OURS[name])
    hf.save(config, params, tmp_path / "out")
    back, again = hf.load(tmp_path / "out")

    @compiled
    def both(params, again):
        return models.build(config).apply(params, tokens_BT), models.build(back).apply(again, tokens_BT)

    with jax.default_matmul_precision("highest"):
        ours, theirs = both(params, again)
    assert 0.1 < np.std(ours) < 10
    np.testing.assert_allclose(theirs, ours, atol=2e-5)


CANNOT = [
    (dataclasses.replace(SMALL, positions="none"), "positions='none' \\(it has 'rope'\\)"),
    (dataclasses.replace(SMALL, gated=False), "gated=False"),
    (dataclasses.replace(SMALL, logit_softcap=3.0), "logit_softcap=3.0"),
    (dataclasses.replace(SMALL, windows=(4, 0)), "windows=\\(4, 0\\)"),
    (
        dataclasses.replace(SMALL, norm_position="post"),
        "Olmo2ForCausalLM.*qk_norm='none' \\(it has 'width'\\)",
    ),
    (
        dataclasses.replace(SMALL, family="moe", experts=dataclasses.replace(MIX, renormalize=False)),
        "MixtralForCausalLM.*renormalize=False",
    ),
    (dataclasses.replace(SMALL, family="moe", experts=dataclasses.replace(MIX, d_shared=8)), "d_shared=8"),
    (
        dataclasses.replace(SMALL, family="moe", experts=dataclasses.replace(MIX, dense_layers=(0,))),
        "MixtralForCausalLM.*dense_layers=",
    ),
    (dataclasses.replace(SMALL, n_kv_heads=4, latent=Latent(4, 2, 5)), "LlamaForCausalLM.*latent="),
    (dataclasses.replace(SMALL, rope_width=4), "LlamaForCausalLM.*rope_width=4"),
    (dataclasses.replace(SMALL, sinks=True), "LlamaForCausalLM.*sinks=True"),
    (RNNConfig(31, 8, 1), "family='rnn' has no Hugging Face architecture"),
]


@pytest.mark.parametrize(("config", "said"), CANNOT)
def test_what_no_architecture_has_is_not_exported(config, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        hf.save(config, {}, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_parameters_of_another_model_are_not_exported(tmp_path):
    config, params = loaded(Path("tests/data/hf/qwen3"))
    with pytest.raises(ValueError, match=r"params: .* has shape .*; the configuration"):
        hf.save(dataclasses.replace(config, d_ff=8), params, tmp_path / "out")
    with pytest.raises(ValueError, match=r"params: blocks/.* has shape None"):
        hf.save(config, {"ends": params["ends"]}, tmp_path / "out")


@pytest.mark.slow
@GOLDEN
def test_transformers_reads_what_we_export_and_agrees(folder, tmp_path):
    if folder.name in ("rwkv7", "phi3-longrope"):
        pytest.skip("transformers has no RWKV-7, and no longrope is written")
    golden = np.load(folder / "golden.npz")
    hf.save(*loaded(folder), tmp_path / "out")
    names = [name for name in ("input_ids", "attention_mask", "decoder_input_ids") if name in golden.files]
    logits = by_transformers(tmp_path / "out", {name: golden[name] for name in names})
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_transformers_agrees_with_our_own_models(name, tmp_path):
    config, params, tokens_BT = random_model(OURS[name])
    hf.save(config, params, tmp_path / "out")
    theirs = by_transformers(tmp_path / "out", {"input_ids": tokens_BT})
    with jax.default_matmul_precision("highest"):
        ours = compiled(models.build(config).apply)(params, tokens_BT)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


def by_transformers(folder: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Logits of the network that transformers makes of a checkpoint."""
    torch, transformers = extra("torch", "hf"), extra("transformers", "hf")
    encoder = "decoder_input_ids" in inputs
    auto = transformers.AutoModelForSeq2SeqLM if encoder else transformers.AutoModelForCausalLM
    plain = {"attn_implementation": "eager", "experts_implementation": "eager", "dtype": torch.float32}
    network = auto.from_pretrained(folder, **plain).eval()
    with torch.no_grad():
        return network(**{name: torch.from_numpy(ids) for name, ids in inputs.items()}).logits.numpy()


def test_an_export_that_fails_leaves_nothing(tmp_path, monkeypatch):
    config, params = loaded(Path("tests/data/hf/qwen3"))
    written = []

    def fail(*_, **__):
        written.append(list(tmp_path.rglob("*")))
        raise OSError("the disk is full")

    # The name in that module only: test processes talk to each other through the real `struct`.
    monkeypatch.setattr("models.hf.files.struct", SimpleNamespace(pack=fail))
    with pytest.raises(OSError, match="full"):
        hf.save(config, params, tmp_path / "out")
    assert written[0] and not list(tmp_path.iterdir())


def test_an_export_replaces_nothing(tmp_path):
    config, params = loaded(Path("tests/data/hf/qwen3"))
    shutil.copytree("tests/data/hf/qwen3", tmp_path / "out")
    with pytest.raises(ValueError, match="is there already"):
        hf.save(config, params, tmp_path / "out")
