"""DeepSeek-V2 and V3 (Moonlight, too): latent attention, shared experts, the first layers dense."""

import math
from typing import Any

import numpy as np

from models.configs.layers import Experts, Latent
from models.configs.transformer import TransformerConfig
from models.hf.architectures.decoder import (
    ACTIVATIONS,
    LAYER,
    THEIR_ACTIVATIONS,
    decoder_entries,
    decoder_from_json,
    decoder_to_json,
)
from models.hf.architectures.moe import MATRICES, expert_entries, in_stacks
from models.hf.entry import Entry, linear, same
from models.hf.fields import Fields
from models.parametrization import attention_scale

ARCHITECTURES = {"deepseek_v2": "DeepseekV2ForCausalLM", "deepseek_v3": "DeepseekV3ForCausalLM"}
# What a field that is absent stands for, where that is no null.
SHARED = {"kv_lora_rank": 512, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64}
SHARED |= {"v_head_dim": 128}
DEFAULTS = {
    "deepseek_v2": SHARED | {"first_k_dense_replace": 0, "n_shared_experts": 2},
    "deepseek_v3": SHARED
    | {"first_k_dense_replace": 3, "n_shared_experts": 1, "n_group": 8, "topk_group": 4},
}
METHODS = {"deepseek_v2": ("greedy", "group_limited_greedy"), "deepseek_v3": ("noaux_tc",)}
SCORES = {"deepseek_v2": "softmax", "deepseek_v3": "sigmoid"}


def config_from_json(fields: dict[str, Any]) -> TransformerConfig:
    """Our description of the network in a config.json. No token is ever dropped, as in transformers.

    Raises:
      ValueError: a field that we do not support, with its value and what is allowed.
    """
    kind = fields["model_type"]
    left = Fields(DEFAULTS[kind] | fields)
    d_rope, d_value = left.take("qk_rope_head_dim"), left.take("v_head_dim")
    left.left["head_dim"] = left.take("qk_nope_head_dim") + d_rope  # theirs is d_rope, or nothing
    sharpening = _sharpening(fields.get("rope_parameters") or fields.get("rope_scaling") or {})
    found = decoder_from_json(left)
    grouped = left.require("topk_method", *METHODS[kind]) != "greedy"
    groups = left.take("n_group", 1), left.take("topk_group", 1)
    d_expert = left.take("moe_intermediate_size")
    # transformers passes norm_topk_prob over in V2, and published ones of it have none.
    renormalize = left.require("norm_topk_prob", *((True, False) if kind == "deepseek_v3" else (False,)))
    experts = Experts(
        n_experts=left.take("n_routed_experts"),
        top_k=left.take("num_experts_per_tok"),
        d_expert=d_expert,
        d_shared=d_expert * left.take("n_shared_experts"),
        renormalize=renormalize,
        dispatch="dropless",
        balance_loss=left.take("aux_loss_alpha", 0.0),
        z_loss=0.0,
        dense_layers=tuple(range(left.layers("first_k_dense_replace", 0))),
        scores=SCORES[kind],  # type: ignore[arg-type]
        choice_bias=kind == "deepseek_v3",
        n_groups=groups[0] if grouped else 1,
        top_groups=groups[1] if grouped else 1,
        scale=float(left.take("routed_scaling_factor", 2.5 if kind == "deepseek_v3" else 1.0)),
    )
    config = TransformerConfig(
        **found,
        latent=Latent(left.take("kv_lora_rank"), d_rope, d_value, left.take("q_lora_rank", 0)),
        attention_scale=sharpening * found["d_head"] ** -0.5 if sharpening != 1 else 0.0,
        activation=left.translate("hidden_act", ACTIVATIONS, "silu"),
        experts=experts,
        family="moe",
    )
    for name in ("attention_bias", "mlp_bias"):
        left.require(name, False)
    left.require("scoring_func", SCORES[kind])
    left.require("rope_interleave", True)
    for name in ("pretraining_tp", "moe_layer_freq"):
        left.require(name, 1)
    # Of training, of layers that guess further tokens ahead, and what follows from others.
    left.done("seq_aux", "ep_size", "output_router_logits", "num_nextn_predict_layers", "qk_head_dim")
    return config


def config_to_json(config: TransformerConfig) -> dict[str, Any]:
    """The config.json of the architecture that is nearest to the network."""
    experts, latent = config.experts, config.latent
    assert latent is not None
    if experts is None:
        raise ValueError("model: latent without experts; DeepseekV3ForCausalLM, the nearest, has some")
    kind = "deepseek_v3" if experts.scores == "sigmoid" else "deepseek_v2"
    described = decoder_to_json(config)
    del described["head_dim"]
    grown = attention_scale(config) * config.d_head**0.5  # of yarn in DeepSeek's spelling
    if config.rope_scaling and config.rope_scaling.kind == "yarn" and grown > 1:
        all_dim = (grown**0.5 - 1) / (0.1 * math.log(config.rope_scaling.factor))
        described["rope_scaling"]["mscale_all_dim"] = round(all_dim, 6)
    grouped = kind == "deepseek_v3" or experts.n_groups > 1
    return described | {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "hidden_act": THEIR_ACTIVATIONS[config.activation],
        "kv_lora_rank": latent.kv_rank,
        "q_lora_rank": latent.q_rank or None,
        "qk_nope_head_dim": config.d_head - latent.d_rope,
        "qk_rope_head_dim": latent.d_rope,
        "v_head_dim": latent.d_value,
        "n_routed_experts": experts.n_experts,
        "n_shared_experts": experts.d_shared // experts.d_expert,
        "num_experts_per_tok": experts.top_k,
        "moe_intermediate_size": experts.d_expert,
        "norm_topk_prob": experts.renormalize,
        "first_k_dense_replace": len(experts.dense_layers),
        "topk_method": METHODS[kind][-1] if grouped else "greedy",
        "n_group": experts.n_groups,
        "topk_group": experts.top_groups,
        "routed_scaling_factor": experts.scale,
        "aux_loss_alpha": experts.balance_loss,
    }


def entries(config: TransformerConfig) -> list[Entry]:
    """Every tensor of a checkpoint, by name."""
    experts, d = config.experts, (config.d_model,)
    assert experts is not None
    common = [entry for entry in decoder_entries(config) if ".self_attn." not in entry.name]
    sparse = [linear(f"{LAYER}.mlp.gate.weight", "blocks/mlp/router", d, (experts.n_experts,))]
    if experts.choice_bias:
        sparse.append(same(f"{LAYER}.mlp.gate.e_score_correction_bias", "blocks/mlp/choice_bias"))
    for ours, theirs in MATRICES.items() if experts.d_shared else ():
        inputs, outputs = ((experts.d_shared,), d) if ours == "down" else (d, (experts.d_shared,))
        name = f"{LAYER}.mlp.shared_experts.{theirs}.weight"
        sparse.append(linear(name, f"blocks/mlp/shared/w_{ours}", inputs, outputs))
    return in_stacks(config, common + _attention(config), sparse + expert_entries(config, f"{LAYER}.mlp"))


def _attention(config: TransformerConfig) -> list[Entry]:
    theirs, ours, d = f"{LAYER}.self_attn", "blocks/attention", (config.d_model,)
    latent, h, k = config.latent, config.n_heads, config.d_head
    assert latent is not None
    n, r, x, rank = k - latent.d_rope, latent.kv_rank, latent.d_value, latent.q_rank
    # Pairs that rope rotates lie beside each other there, and in two halves here.
    halves = np.concatenate([np.arange(0, latent.d_rope, 2), np.arange(1, latent.d_rope, 2)])
    of_head = np.concatenate([np.arange(n), n + halves])

    def queries(q_OI: Any) -> tuple:
        return (q_OI.T.reshape(-1, h, k)[..., of_head],)

    def into(both_OI: Any) -> tuple:
        return both_OI[:r].T, both_OI[r:][halves].T

    def keys_values(both_OR: Any) -> tuple:
        both_RHK = both_OR.T.reshape(r, h, n + x)
        return both_RHK[..., :n], both_RHK[..., n:]

    found = [
        Entry(
            f"{theirs}.{'q_b_proj' if rank else 'q_proj'}.weight",
            (f"{ours}/w_q",),
            queries,
            lambda w: w[..., np.argsort(of_head)].reshape(-1, h * k).T,
        ),
        Entry(
            f"{theirs}.kv_a_proj_with_mqa.weight",
            (f"{ours}/w_kv_in", f"{ours}/w_k_rope"),
            into,
            lambda w, rotated: np.concatenate([w.T, rotated.T[np.argsort(halves)]]),
        ),
        same(f"{theirs}.kv_a_layernorm.weight", f"{ours}/kv_norm/scale"),
        Entry(
            f"{theirs}.kv_b_proj.weight",
            (f"{ours}/w_k", f"{ours}/w_v"),
            keys_values,
            lambda w_k, w_v: np.concatenate([w_k, w_v], axis=-1).reshape(r, -1).T,
        ),
        linear(f"{theirs}.o_proj.weight", f"{ours}/w_o", (h, x), d),
    ]
    if rank:
        found.append(linear(f"{theirs}.q_a_proj.weight", f"{ours}/w_q_in", d, (rank,)))
        found.append(same(f"{theirs}.q_a_layernorm.weight", f"{ours}/q_norm/scale"))
    return found


def _sharpening(rope: Any) -> float:
    """What yarn multiplies attention's scores with besides, where `mscale_all_dim` is said."""
    fields = rope if isinstance(rope, dict) else {}
    stretched = fields.get("rope_type", fields.get("type", "default")) != "default"
    all_dim = fields.get("mscale_all_dim") or 0
    factor = fields.get("factor", 0)
    return (0.1 * all_dim * math.log(factor) + 1) ** 2 if stretched and all_dim and factor > 0 else 1.0
