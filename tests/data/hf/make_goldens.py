"""Makes the tiny checkpoints of this folder, and what transformers computes from them.

Run with torch 2.15.0 (CPU), transformers 5.24.0 and safetensors 0.8.0, in an environment of their own:

    python tests/data/hf/make_goldens.py tests/data/hf

Each folder holds config.json and model.safetensors as `save_pretrained` writes them, and golden.npz with
input_ids [2,T], logits [2,T,V] (float32, eager attention, no mask) and greedy_ids [2,12], the greedy
continuation. Encoder-decoders also have attention_mask and decoder_input_ids; their greedy_ids follow the
start token 0 under that mask. All parameters are random, biases and norm scales too. Of several seeds the
first is kept at which no choice is close: float64 gives the same logits to 3e-5 and the same continuation.
gpt2, llama and mixtral are not made here: they have more in their golden.npz, and llama and mixtral their
configuration in the older spelling besides.
"""

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

hf: Any = transformers  # whose configurations check what they are given
SMALL = {"vocab_size": 64, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 40}
SMALL |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
SMALL |= {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8, "rope_theta": 1e4}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 16, "rope_theta": 500.0}
LLAMA3 |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
LATENT = {"kv_lora_rank": 10, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 7}
NO_IDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}

CONFIGS = {
    "llama-linear": hf.LlamaConfig(
        **SMALL | {"num_key_value_heads": 1, "hidden_size": 32},
        tie_word_embeddings=True,
        attention_bias=True,
        mlp_bias=True,
        rope_parameters={"rope_type": "linear", "factor": 2.5, "rope_theta": 1e4},
    ),
    "llama-llama3": hf.LlamaConfig(**SMALL, head_dim=10, hidden_act="gelu", rope_parameters=LLAMA3),
    "llama-yarn": hf.LlamaConfig(
        **SMALL | {"num_key_value_heads": 4}, tie_word_embeddings=True, rope_parameters=YARN
    ),
    "llama-yarn-exact": hf.LlamaConfig(
        **SMALL | {"num_hidden_layers": 1},
        head_dim=16,
        rope_parameters=YARN
        | {"attention_factor": 1.3, "beta_fast": 8.0, "beta_slow": 0.5, "truncate": False, "factor": 2.0},
    ),
    "mistral": hf.MistralConfig(**SMALL | {"num_hidden_layers": 3}, head_dim=8, sliding_window=6),
    "qwen2": hf.Qwen2Config(**SMALL, tie_word_embeddings=True),
    "qwen3": hf.Qwen3Config(**SMALL, head_dim=8, tie_word_embeddings=True),
    "qwen3-windows": hf.Qwen3Config(
        **SMALL | {"num_hidden_layers": 3},
        head_dim=6,
        attention_bias=True,
        use_sliding_window=True,
        sliding_window=5,
        max_window_layers=1,
    ),
    "smollm3": hf.SmolLM3Config(
        **SMALL | {"num_hidden_layers": 3},
        no_rope_layer_interval=2,
        use_sliding_window=True,
        sliding_window=6,
    ),
    "olmo2": hf.Olmo2Config(**SMALL | {"num_hidden_layers": 3}),
    "gemma2": hf.Gemma2Config(
        **SMALL | {"num_hidden_layers": 3},
        head_dim=8,
        query_pre_attn_scalar=20,
        sliding_window=5,
        attn_logit_softcapping=3.0,
        final_logit_softcapping=4.0,
    ),
    "gemma3": hf.Gemma3TextConfig(
        **SMALL | {"num_hidden_layers": 3},
        head_dim=8,
        query_pre_attn_scalar=20,
        sliding_window=5,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
        },
    ),
    "phi3": hf.Phi3Config(**SMALL, sliding_window=6),
    "phi3-longrope": hf.Phi3Config(
        **SMALL | {"hidden_size": 32},
        original_max_position_embeddings=64,
        partial_rotary_factor=0.5,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 1e4,
            "short_factor": [1.0, 2.5],
            "long_factor": [2.0, 4.0],
        },
    ),
    "gpt2-inner": hf.GPT2Config(
        vocab_size=64, n_positions=40, n_embd=24, n_layer=3, n_head=3, n_inner=50, **NO_IDS
    ),
    "mixtral-wide": hf.MixtralConfig(
        **SMALL | {"num_key_value_heads": 1, "intermediate_size": 20},
        num_local_experts=6,
        num_experts_per_tok=3,
        sliding_window=7,
        head_dim=8,
        tie_word_embeddings=True,
    ),
    "qwen3-moe": hf.Qwen3MoeConfig(
        **SMALL,
        head_dim=8,
        moe_intermediate_size=18,
        num_experts=5,
        num_experts_per_tok=2,
        norm_topk_prob=True,
    ),
    "qwen3-moe-dense": hf.Qwen3MoeConfig(
        **SMALL | {"num_hidden_layers": 3},
        head_dim=6,
        moe_intermediate_size=10,
        num_experts=4,
        num_experts_per_tok=2,
        norm_topk_prob=True,
        mlp_only_layers=[0, 2],
        tie_word_embeddings=True,
    ),
    "gpt-oss": hf.GptOssConfig(
        **SMALL | {"intermediate_size": 14},
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=5,
        rope_parameters=YARN | {"truncate": False},
    ),
    "deepseek-v2": hf.DeepseekV2Config(
        **SMALL | {"num_key_value_heads": 4},
        **LATENT,
        q_lora_rank=None,
        n_routed_experts=4,
        n_shared_experts=2,
        num_experts_per_tok=2,
        moe_intermediate_size=10,
        topk_method="group_limited_greedy",
        n_group=2,
        topk_group=1,
        first_k_dense_replace=0,
        routed_scaling_factor=1.5,
    ),
    "deepseek-v3": hf.DeepseekV3Config(
        **SMALL | {"num_key_value_heads": 4, "num_hidden_layers": 3},
        **LATENT,
        q_lora_rank=12,
        n_routed_experts=8,
        n_shared_experts=1,
        num_experts_per_tok=3,
        moe_intermediate_size=10,
        n_group=4,
        topk_group=2,
        first_k_dense_replace=1,
        rope_parameters=YARN | {"mscale": 1.0, "mscale_all_dim": 0.5},
        num_mtp_layers=0,
    ),
    "olmoe": hf.OlmoeConfig(
        **SMALL | {"intermediate_size": 18, "num_key_value_heads": 4}, num_experts=6, num_experts_per_tok=2
    ),
    "rwkv4-tied": hf.RwkvConfig(
        vocab_size=64,
        context_length=64,
        hidden_size=24,
        num_hidden_layers=4,
        intermediate_size=40,
        layer_norm_epsilon=1e-4,
        tie_word_embeddings=True,
        rescale_every=0,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "rwkv4-rescaled": hf.RwkvConfig(
        vocab_size=64,
        context_length=64,
        hidden_size=16,
        num_hidden_layers=8,
        intermediate_size=24,
        rescale_every=2,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "t5-v1.1": hf.T5Config(
        vocab_size=64,
        d_model=24,
        d_kv=5,
        d_ff=36,
        num_layers=2,
        num_decoder_layers=3,
        num_heads=3,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    ),
    "t5-gated-tied": hf.T5Config(
        vocab_size=64,
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=3,
        num_decoder_layers=1,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=12,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=True,
        decoder_start_token_id=0,
    ),
}


def randomize(model: Any, seed: int) -> None:
    """Gives every parameter random values at which activations stay near one."""
    rng = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        draw = torch.randn(p.shape, generator=rng)
        if "time_decay" in name:
            p.data = draw - 1
        elif "time_mix" in name:
            p.data = torch.rand(p.shape, generator=rng)
        elif p.dim() == 1:  # scales and biases; Gemma's scales are 1 + weight
            is_scale = "norm" in name or "ln" in name
            centre = float(is_scale and not name.endswith("bias") and "gemma" not in model.config.model_type)
            p.data = centre + 0.3 * draw
        elif "embed" in name or "wte" in name or "wpe" in name or "shared" in name or "relative" in name:
            p.data = draw * (0.3 if "gemma" in model.config.model_type else 0.7)
        elif model.config.model_type == "gpt_oss" and name.endswith("gate_up_proj"):  # some are clamped
            p.data = draw * 4 * p.shape[-2] ** -0.5
        else:
            p.data = draw * 1.5 * p.shape[1 if p.dim() == 2 and "c_" not in name else -2] ** -0.5
    for name, b in model.named_buffers():
        if "e_score_correction_bias" in name:
            b.data = 0.3 * torch.randn(b.shape, generator=rng)


def outputs(model: torch.nn.Module, arrays: dict, n_new: int = 12) -> dict:
    """Logits and greedy continuation, without a cache."""
    batch = {name: torch.from_numpy(value) for name, value in arrays.items()}
    with torch.no_grad():
        found = {"logits": model(**batch).logits}
        grows = "decoder_input_ids" if "decoder_input_ids" in batch else "input_ids"
        ids = torch.zeros(2, 1, dtype=torch.int64) if grows == "decoder_input_ids" else batch["input_ids"]
        start = ids.shape[1]
        for _ in range(n_new):
            last = model(**batch | {grows: ids}).logits[:, -1]
            ids = torch.cat([ids, last.argmax(-1, keepdim=True)], dim=1)
    return {name: value.numpy() for name, value in found.items()} | {"greedy_ids": ids[:, start:].numpy()}


def make(name: str, config, folder: Path) -> None:
    """Writes one golden folder."""
    rng = np.random.default_rng(0)
    arrays = {"input_ids": rng.integers(2, 64, (2, 20))}
    if config.is_encoder_decoder:
        arrays["attention_mask"] = np.ones((2, 20), np.int64)
        arrays["attention_mask"][1, 13:] = 0
        arrays["decoder_input_ids"] = np.concatenate([np.zeros((2, 1), int), rng.integers(2, 64, (2, 11))], 1)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    auto = hf.AutoModelForSeq2SeqLM if config.is_encoder_decoder else hf.AutoModelForCausalLM
    for seed in range(100):
        model = auto.from_config(copy.deepcopy(config), dtype=torch.float32).eval()
        if name == "t5-v1.1":  # published ones have a head of their own, which transformers 5 forgets
            model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
            model.config.tie_word_embeddings = False
        randomize(model, seed)
        model.save_pretrained(folder / name)  # first: RWKV-4 rescales its weights when it is run
        single = outputs(model, arrays)
        double = outputs(model.double(), arrays)
        difference = np.abs(single["logits"] - double["logits"]).max()
        if difference < 3e-5 and (single["greedy_ids"] == double["greedy_ids"]).all():
            break
    else:
        raise RuntimeError(f"{name}: no seed without close choices")
    (folder / name / "generation_config.json").unlink(missing_ok=True)
    np.savez_compressed(folder / name / "golden.npz", **arrays, **single)
    print(
        f"{name}: seed {seed}, logits std {single['logits'].std():.2f}, float64 differs by {difference:.1e}"
    )


if __name__ == "__main__":
    wanted = sys.argv[2:] or list(CONFIGS)
    for each in wanted:
        make(each, CONFIGS[each], Path(sys.argv[1]))
