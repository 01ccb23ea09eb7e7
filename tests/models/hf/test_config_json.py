"""What a config.json says: in each spelling, where fields are absent, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from models import hf
from models.hf.config_json import config_from_json

HF = Path("tests/data/hf")
GOLDENS = sorted(path.parent for path in HF.glob("*/config.json"))


def config_of(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("name", ["llama", "mixtral"])
def test_both_spellings_of_a_published_config_are_one_model(name):
    old = json.loads((HF / name / "config.v4style.json").read_text())
    assert "rope_parameters" not in old and "rope_theta" in old
    assert config_from_json(old)[1] == hf.load_config(HF / name)


@pytest.mark.parametrize(
    "folder", [f for f in GOLDENS if "rope_type" in config_of(f).get("rope_parameters", {})], ids=str
)
def test_the_older_spelling_of_rope_says_the_same(folder):
    fields = config_of(folder)
    scaling = fields.pop("rope_parameters")
    old = fields | {"rope_theta": scaling.pop("rope_theta")}
    old["rope_scaling"] = scaling if scaling["rope_type"] != "default" else None
    assert config_from_json(old)[1] == hf.load_config(folder)
    if old["rope_scaling"]:  # older yet
        old["rope_scaling"]["type"] = old["rope_scaling"].pop("rope_type")
        assert config_from_json(old)[1] == hf.load_config(folder)


@pytest.mark.parametrize("by", ["architectures", "model_type"])
def test_either_name_of_an_architecture_is_enough(by):
    fields = config_of(HF / "qwen3")
    del fields["model_type" if by == "architectures" else "architectures"]
    assert config_from_json(fields)[1] == hf.load_config(HF / "qwen3")


def test_absent_fields_have_the_defaults_of_their_architecture():
    def read(name, *absent, **changed) -> Any:
        fields = config_of(HF / name) | changed
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
    unread = {"pretraining_tp": 2, "max_window_layers": 28, "use_sliding_window": False}
    smollm = read("smollm3", "layer_types", "no_rope_layers", "rope_parameters", **unread)
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
    phi = read("phi3-longrope", max_position_embeddings=4096)
    assert (phi.rope_width, phi.max_len, phi.rope_scaling.factor, phi.rope_scaling.factors) == (
        *(4, 64, 64.0),
        (1.0, 2.5),
    )
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
    ("llama", {"hidden_size": "64"}, "cannot have"),
    ("llama", {"hidden_size": True}, "hidden_size|d_model"),
    ("llama", {"vocab_size": 1.5}, "vocab_size=1.5; it must be a whole number"),
    ("llama", {"num_attention_heads": 0}, "cannot have"),
    ("llama", {"architectures": 5}, "architectures=5"),
    ("llama", {"architectures": None, "model_type": ["llama"]}, r"model_type=\['llama'\]"),
    ("gpt2", {"n_positions": 10**30}, "max_len"),
    ("deepseek-v3", {"n_shared_experts": 10**30}, "d_shared"),
    ("gemma3", {"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000"),
    ("gpt-oss", {"num_hidden_layers": -1}, "num_hidden_layers=-1"),
    ("deepseek-v3", {"first_k_dense_replace": 10**12}, "first_k_dense_replace=1000000000000"),
    ("deepseek-v3", {"rope_parameters": {"rope_type": "yarn", "factor": 0, "mscale_all_dim": 1}}, "factor=0"),
    ("mistral", {"attention_bias": True}, "attention_bias=True"),
    ("qwen3", {"layer_types": ["full_attention", "linear_attention"]}, "linear_attention"),
    ("qwen3", {"layer_types": ["full_attention"]}, "allowed are 2"),
    ("gemma2", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
    ("phi3", {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "allowed: 'default', 'longrope'"),
    ("phi3-longrope", {"partial_rotary_factor": 1.0}, "has 2 factors; it must have one for each of the 4"),
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
        config_from_json(config_of(HF / name) | changed)


def test_fields_of_training_and_generation_change_nothing():
    folder = HF / "llama"
    more = {"attention_dropout": 0.1, "temperature": 0.6, "use_cache": False, "sliding_window": None}
    assert config_from_json(config_of(folder) | more)[1] == hf.load_config(folder)
