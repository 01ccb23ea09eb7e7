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


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_both_spellings_of_a_published_config_are_one_model(name):
    old = json.loads((Path("tests/data/hf") / name / "config.v4style.json").read_text())
    assert "rope_parameters" not in old and "rope_theta" in old
    assert config_from_json(old)[1] == loaded(Path("tests/data/hf") / name)[0]


@pytest.mark.parametrize(
    "folder", [f for f in GOLDENS if "rope_type" in config_of(f).get("rope_parameters", {})], ids=str
)
def test_the_older_spelling_of_rope_says_the_same(folder):
    fields = config_of(folder)
    scaling = fields.pop("rope_parameters")
    old = fields | {"rope_theta": scaling.pop("rope_theta")}
    old["rope_scaling"] = scaling if scaling["rope_type"] != "default" else None
    assert config_from_json(old)[1] == loaded(folder)[0]
    if old["rope_scaling"]:  # older yet
        old["rope_scaling"]["type"] = old["rope_scaling"].pop("rope_type")
        assert config_from_json(old)[1] == loaded(folder)[0]


@pytest.mark.parametrize("by", ["architectures", "model_type"])
def test_either_name_of_an_architecture_is_enough(by):
    fields = config_of(Path("tests/data/hf/qwen3"))
    del fields["model_type" if by == "architectures" else "architectures"]
    assert config_from_json(fields)[1] == loaded(Path("tests/data/hf/qwen3"))[0]


def test_absent_fields_have_the_defaults_of_their_architecture():
    def read(name, *absent, **changed) -> Any:
        fields = config_of(Path("tests/data/hf") / name) | changed
        return config_from_json({key: value for key, value in fields.items() if key not in absent})[1]

    llama = read("llama", "num_key_value_heads", "head_dim", "rms_norm_eps", "tie_word_embeddings")
    assert (llama.n_kv_heads, llama.d_head, llama.norm_eps, llama.tied_embeddings) == (4, 16, 1e-6, False)
    assert read("mistral", "sliding_window").windows == (4096,)
    assert read("mistral", sliding_window=None).windows == (0,)
    assert read("qwen3", "head_dim").d_head == 128
    gemma = read("gemma2", "layer_types", "attn_logit_softcapping", "tie_word_embeddings")
    assert (gemma.windows, gemma.attention_softcap, gemma.tied_embeddings) == ((5, 0), 50.0, True)
    assert read("gemma2", final_logit_softcapping=None).logit_softcap == 0
    assert read("qwen3-windows", "layer_types").windows == (0, 5, 5)
    smollm = read("smollm3", "layer_types", "no_rope_layers", "rope_parameters", use_sliding_window=False)
    assert (smollm.rope_layers, smollm.windows, smollm.rope_theta) == ((True, False), (0,), 2e6)
    older = {"rope_theta": 1e5, "rope_local_base_freq": 50.0, "rope_scaling": None, "num_hidden_layers": 8}
    gemma3 = read("gemma3", "layer_types", "rope_parameters", **older)
    assert (gemma3.windows, gemma3.rope_theta, gemma3.local_rope_theta) == ((5, 5, 5, 5, 5, 0), 1e5, 50.0)
    assert gemma3.rope_scaling is None and gemma3.attention_softcap == 0
    assert read("qwen3-windows", use_sliding_window=False, layer_types=None).windows == (0,)
    assert read("mixtral", "rope_parameters").rope_theta == 1e6
    oss = read("gpt-oss", "rope_parameters", "layer_types", sliding_window=3)
    assert (oss.rope_theta, oss.rope_scaling.factor, oss.rope_scaling.truncate) == (150_000, 32.0, False)
    assert oss.windows == (3, 0)
    lite = read("deepseek-v2", "q_lora_rank", topk_method="greedy", first_k_dense_replace=1)
    assert (lite.latent.q_rank, lite.experts.n_groups, lite.experts.dense_layers) == (1536, 1, (0,))
    assert read("gpt2-inner", n_inner=None).d_ff == 96
    sparse = {"num_hidden_layers": 6, "decoder_sparse_step": 2, "mlp_only_layers": [3]}
    assert read("qwen3-moe-dense", **sparse).experts.dense_layers == (0, 2, 3, 4)


REFUSED = [
    ("llama", {"hidden_act": "quick_gelu"}, "hidden_act='quick_gelu'"),
    ("llama", {"pretraining_tp": 2}, "pretraining_tp=2"),
    ("llama", {"sliding_window": 8}, "sliding_window=8"),
    ("llama", {"rope_parameters": {"rope_type": "longrope", "short_factor": [1]}}, "rope_type='longrope'"),
    ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "shift": 1}}, "shift=1"),
    ("llama", {"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, "full_attention"),
    ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
    ("llama", {"quantization_config": {"bits": 4}}, "quantization_config"),
    ("llama", {"hidden_size": None}, "hidden_size is missing"),
    ("llama", {"hidden_size": "64"}, "wrong type"),
    ("mistral", {"attention_bias": True}, "attention_bias=True"),
    ("qwen3", {"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
    ("qwen3", {"layer_types": ["full_attention"]}, "allowed are 2"),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
    ("phi3", {"partial_rotary_factor": 0.75}, "partial_rotary_factor=0.75"),
    ("smollm3", {"no_rope_layers": [1, 0]}, "expected one for each of 3 layers"),
    ("gemma3", {"rope_parameters": {"sliding_attention": {"rope_type": "linear"}}}, "rope_type='linear'"),
    ("deepseek-v3", {"rope_interleave": False}, "rope_interleave=False"),
    ("deepseek-v2", {"norm_topk_prob": True}, "norm_topk_prob=True"),
    ("deepseek-v2", {"topk_method": "noaux_tc"}, "topk_method='noaux_tc'"),
    ("gpt-oss", {"swiglu_limit": 5.0}, "swiglu_limit=5.0"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
    ("gpt2", {"add_cross_attention": True}, "add_cross_attention=True"),
    ("olmoe", {"clip_qkv": 8.0}, "clip_qkv=8.0"),
    ("olmoe", {"sliding_window": 8}, "sliding_window=8"),
    ("qwen3-moe", {"mlp_only_layers": [1, 0]}, r"dense_layers=\(0, 1\)"),
    ("qwen3-moe", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}, "max_window_l"),
    ("llama", {"architectures": ["LlamaForSequenceClassification"]}, "allowed: LlamaForCausalLM"),
    ("llama", {"architectures": None, "model_type": "llama4"}, "model_type='llama4'"),
]


@pytest.mark.parametrize(("name", "changed", "said"), REFUSED)
def test_a_field_with_an_effect_that_we_do_not_have_is_refused_by_name(name, changed, said):
    with pytest.raises(ValueError, match=said):
        config_from_json(config_of(Path("tests/data/hf") / name) | changed)


def test_fields_of_training_and_generation_change_nothing():
    folder = Path("tests/data/hf/llama")
    more = {"attention_dropout": 0.1, "temperature": 0.6, "use_cache": False, "sliding_window": None}
    assert config_from_json(config_of(folder) | more)[1] == loaded(folder)[0]


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
    if folder.name == "rwkv7":
        pytest.skip("transformers has no RWKV-7")
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
