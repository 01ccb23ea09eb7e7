"""Mixtral, Qwen3-MoE and OLMoE: decoders whose feed-forward layers are mixtures of experts."""

from typing import Any

from models.configs.layers import Experts
from models.configs.transformer import BLOCKS, DENSE, TransformerConfig
from models.hf.architectures.decoder import (
    ACTIVATIONS,
    LAYER,
    THEIR_ACTIVATIONS,
    decoder_entries,
    decoder_from_json,
    decoder_to_json,
    mlp_entries,
)
from models.hf.entry import Entry, linear, of_stack
from models.hf.fields import Fields

ARCHITECTURES = {
    "mixtral": "MixtralForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "olmoe": "OlmoeForCausalLM",
}
QK_NORMS = {"mixtral": "none", "qwen3_moe": "head", "olmoe": "width"}
# What a field that is absent stands for, where that is no null.
DEFAULTS = {
    "mixtral": {"num_key_value_heads": 8, "rms_norm_eps": 1e-5},
    "qwen3_moe": {"num_key_value_heads": 4, "sliding_window": 4096},
    "olmoe": {"rms_norm_eps": 1e-5},
}
ROUTERS = {"mixtral": "block_sparse_moe", "qwen3_moe": "mlp", "olmoe": "mlp"}
MATRICES = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}


def config_from_json(fields: dict[str, Any]) -> TransformerConfig:
    """Our description of the network in a config.json. No token is ever dropped, as in transformers.

    Raises:
      ValueError: a field that we do not support, with its value and what is allowed.
    """
    kind = fields["model_type"]
    left = Fields(DEFAULTS[kind] | fields)
    found = decoder_from_json(left, theta=1e6 if kind == "mixtral" else 1e4)
    n_experts = left.take("num_experts", 0) or left.take("num_local_experts")
    experts = Experts(
        n_experts=n_experts,
        top_k=left.take("num_experts_per_tok", 2 if kind == "mixtral" else 8),
        d_expert=left.take("moe_intermediate_size") if kind == "qwen3_moe" else found["d_ff"],
        renormalize=kind == "mixtral" or left.require("norm_topk_prob", False, True),
        dispatch="dropless",
        balance_loss=left.take("router_aux_loss_coef", 0.0),
        z_loss=0.0,
        dense_layers=_dense_layers(left, found["n_layers"]) if kind == "qwen3_moe" else (),
    )
    biases = left.require("attention_bias", False, *(() if kind == "mixtral" else (True,)))
    windows = (left.take("sliding_window", 0) if kind != "olmoe" else 0,)
    if kind == "qwen3_moe":
        windows = windows if left.require("use_sliding_window", False, True) else (0,)
        # Versions of transformers differ in which layers it spares; of no effect without windows.
        left.require("max_window_layers", 0) if any(windows) else left.take("max_window_layers", 0)
    if kind == "olmoe" and found["d_head"] * found["n_heads"] != found["d_model"]:
        raise ValueError(f"config.json: head_dim={found['d_head']}; OLMoE's heads add up to hidden_size")
    config = TransformerConfig(
        **found,
        qk_norm=QK_NORMS[kind],  # type: ignore[arg-type]
        windows=windows,
        qkv_bias=biases,
        output_bias=biases,
        activation=left.translate("hidden_act", ACTIVATIONS, "silu"),
        experts=experts,
        family="moe",
    )
    left.done("router_jitter_noise", "output_router_logits")  # of training
    return config


def config_to_json(config: TransformerConfig) -> dict[str, Any]:
    """The config.json of the architecture that is nearest to the network."""
    kind, experts = _kind(config), config.experts
    assert experts is not None
    fields = decoder_to_json(config) | {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        "hidden_act": THEIR_ACTIVATIONS[config.activation],
        "num_experts_per_tok": experts.top_k,
        "router_aux_loss_coef": experts.balance_loss,
    }
    if kind == "mixtral":
        fields |= {"num_local_experts": experts.n_experts, "intermediate_size": experts.d_expert}
        fields["sliding_window"] = config.windows[0] or None
        return fields
    fields |= {"num_experts": experts.n_experts, "norm_topk_prob": experts.renormalize}
    fields["attention_bias"] = config.output_bias
    if kind == "olmoe":
        return fields | {"intermediate_size": experts.d_expert}
    fields |= {"moe_intermediate_size": experts.d_expert, "decoder_sparse_step": 1}
    fields["mlp_only_layers"] = list(experts.dense_layers)
    window = config.windows[0] or None
    return fields | {"use_sliding_window": bool(window), "sliding_window": window, "max_window_layers": 0}


def entries(config: TransformerConfig) -> list[Entry]:
    """Every tensor of a checkpoint, by name."""
    kind, experts = _kind(config), config.experts
    assert experts is not None
    router = f"{LAYER}.{ROUTERS[kind]}"
    names = {"gate": "w1", "up": "w3", "down": "w2"} if kind == "mixtral" else MATRICES
    gate = linear(f"{router}.gate.weight", "blocks/mlp/router", (config.d_model,), (experts.n_experts,))
    return in_stacks(config, decoder_entries(config), [gate, *expert_entries(config, router, names)])


def expert_entries(
    config: TransformerConfig, theirs: str, names: dict[str, str] | None = None
) -> list[Entry]:
    """The matrices of all experts, below `theirs`, called by `names` there (default: MATRICES)."""
    assert config.experts is not None
    d, f, found = (config.d_model,), (config.experts.d_expert,), []
    for ours, name in (names or MATRICES).items():
        inputs, outputs = (f, d) if ours == "down" else (d, f)
        found.append(
            linear(f"{theirs}.experts.{{expert}}.{name}.weight", f"blocks/mlp/w_{ours}", inputs, outputs)
        )
    return found


def in_stacks(config: TransformerConfig, common: list[Entry], sparse: list[Entry]) -> list[Entry]:
    """Entries of every layer and those of layers with experts, in the stacks that their layers are in."""
    assert config.experts is not None
    if not (dense := config.experts.dense_layers):
        return common + sparse
    others = tuple(i for i in range(config.n_layers) if i not in dense)
    ends = [entry for entry in common if "{layer}" not in entry.name]
    dense_entries = of_stack(common + mlp_entries(config), DENSE, dense)
    return ends + of_stack(common + sparse, BLOCKS, others) + dense_entries


def _dense_layers(fields: Fields, n_layers: int) -> tuple[int, ...]:
    """The layers without experts: all but every so many, and those that are named."""
    step, named = fields.take("decoder_sparse_step", 1), fields.take("mlp_only_layers", [])
    return tuple(i for i in range(n_layers) if i in named or (i + 1) % step)


def _kind(config: TransformerConfig) -> str:
    return next(kind for kind, norm in QK_NORMS.items() if norm == config.qk_norm)
