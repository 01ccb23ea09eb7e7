"""RWKV-4 (transformers' RwkvForCausalLM) and RWKV-7 (its own names; transformers has none for it)."""

from typing import Any

from models.configs.rwkv4 import RWKV4Config
from models.configs.rwkv7 import RWKV7Config
from models.hf.entry import Entry, linear, reshaped, same
from models.hf.fields import Fields

RWKV7_HEAD_EPS = 64e-5  # of the norm over each head's output, whatever the head size


def config_from_json(fields: dict[str, Any]) -> RWKV4Config | RWKV7Config:
    """Our description of the network in a config.json.

    Raises:
      ValueError: a field that we do not support, with its value and what is allowed.
    """
    is_rwkv7 = "rwkv7" in (fields.get("model_type"), fields.get("architecture"))
    return _from_json_rwkv7(Fields(fields)) if is_rwkv7 else _from_json_rwkv4(Fields(fields))


def config_to_json(config: RWKV4Config | RWKV7Config) -> dict[str, Any]:
    """The config.json of a network."""
    return _to_json_rwkv7(config) if isinstance(config, RWKV7Config) else _to_json_rwkv4(config)


def entries(config: RWKV4Config | RWKV7Config) -> list[Entry]:
    """All tensors of a checkpoint."""
    return _rwkv7_entries(config) if isinstance(config, RWKV7Config) else _rwkv4_entries(config)


def _from_json_rwkv4(left: Fields) -> RWKV4Config:
    d_model = left.take("hidden_size")
    config = RWKV4Config(
        vocab_size=left.take("vocab_size"),
        d_model=d_model,
        n_layers=left.take("num_hidden_layers"),
        d_attention=left.take("attention_hidden_size", d_model),
        d_ff=left.take("intermediate_size", 4 * d_model),
        tied_embeddings=left.take("tie_word_embeddings", False),
        norm_eps=left.take("layer_norm_epsilon", 1e-5),
        rescale_every=left.take("rescale_every", 6),
    )
    left.done("context_length")  # that of training
    return config


def _to_json_rwkv4(config: RWKV4Config) -> dict[str, Any]:
    return {
        "architectures": ["RwkvForCausalLM"],
        "model_type": "rwkv",
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "attention_hidden_size": config.d_attention,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tied_embeddings,
        "rescale_every": config.rescale_every,
    }


def _rwkv4_entries(config: RWKV4Config) -> list[Entry]:
    d, a, f, v = config.d_model, config.d_attention, config.d_ff, config.vocab_size
    block = "rwkv.blocks.{layer}"
    time, channel = f"{block}.attention", f"{block}.feed_forward"

    def share(theirs: str, ours: str) -> Entry:
        return reshaped(theirs, ours, (1, 1, d), (d,))

    found = [
        same("rwkv.embeddings.weight", "ends/embedding"),
        *_norm("rwkv.blocks.0.pre_ln", "ends/embedding_norm"),
        *_norm("rwkv.ln_out", "ends/final_norm"),
        *_norm(f"{block}.ln1", "blocks/time_norm"),
        *_norm(f"{block}.ln2", "blocks/channel_norm"),
        same(f"{time}.time_decay", "blocks/time_mix/log_decay"),
        same(f"{time}.time_first", "blocks/time_mix/bonus"),
        share(f"{time}.time_mix_key", "blocks/time_mix/share_k"),
        share(f"{time}.time_mix_value", "blocks/time_mix/share_v"),
        share(f"{time}.time_mix_receptance", "blocks/time_mix/share_r"),
        linear(f"{time}.key.weight", "blocks/time_mix/w_k", (d,), (a,)),
        linear(f"{time}.value.weight", "blocks/time_mix/w_v", (d,), (a,)),
        linear(f"{time}.receptance.weight", "blocks/time_mix/w_r", (d,), (a,)),
        linear(f"{time}.output.weight", "blocks/time_mix/w_o", (a,), (d,)),
        share(f"{channel}.time_mix_key", "blocks/channel_mix/share_k"),
        share(f"{channel}.time_mix_receptance", "blocks/channel_mix/share_r"),
        linear(f"{channel}.key.weight", "blocks/channel_mix/w_k", (d,), (f,)),
        linear(f"{channel}.receptance.weight", "blocks/channel_mix/w_r", (d,), (d,)),
        linear(f"{channel}.value.weight", "blocks/channel_mix/w_v", (f,), (d,)),
    ]
    return found if config.tied_embeddings else [*found, linear("head.weight", "ends/head", (d,), (v,))]


def _from_json_rwkv7(left: Fields) -> RWKV7Config:
    left.require("architecture", "rwkv7")
    left.require("version", "x070")
    left.require("ln_x_eps", RWKV7_HEAD_EPS)
    d_model = left.take("n_embd")
    left.require("dim_att", d_model)
    config = RWKV7Config(
        vocab_size=left.take("vocab_size"),
        d_model=d_model,
        n_layers=left.take("n_layer"),
        d_head=left.take("head_size"),
        d_ff=left.take("dim_ffn"),
        decay_rank=left.take("lora_w"),
        rate_rank=left.take("lora_a"),
        value_rank=left.take("lora_v"),
        gate_rank=left.take("lora_g"),
        norm_eps=left.take("ln_eps", 1e-5),
    )
    left.done()
    return config


def _to_json_rwkv7(config: RWKV7Config) -> dict[str, Any]:
    return {
        "architecture": "rwkv7",
        "version": "x070",
        "vocab_size": config.vocab_size,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "head_size": config.d_head,
        "dim_ffn": config.d_ff,
        "lora_w": config.decay_rank,
        "lora_a": config.rate_rank,
        "lora_v": config.value_rank,
        "lora_g": config.gate_rank,
        "ln_eps": config.norm_eps,
        "ln_x_eps": RWKV7_HEAD_EPS,
    }


def _rwkv7_entries(config: RWKV7Config) -> list[Entry]:
    d, f, v, k = config.d_model, config.d_ff, config.vocab_size, config.d_head
    h = d // k
    time, channel = "blocks.{layer}.att", "blocks.{layer}.ffn"

    def share(name: str) -> Entry:
        return reshaped(f"{time}.x_{name}", f"blocks/time_mix/share_{name}", (1, 1, d), (d,))

    def vector(name: str, ours: str, first_layer: int = 0) -> Entry:
        path = (f"blocks/time_mix/{ours}",)
        to_ours, to_theirs = lambda t: (t.reshape(h, k),), lambda o: o.reshape(1, 1, d)
        return Entry(f"{time}.{name}", path, to_ours, to_theirs, first_layer)

    def low_rank(name: str, ours: str, first_layer: int = 0) -> list[Entry]:
        into, out = (f"blocks/time_mix/{ours}_in",), (f"blocks/time_mix/{ours}_out",)
        unfold, fold = lambda t: (t.reshape(-1, h, k),), lambda o: o.reshape(-1, d)
        return [
            Entry(f"{time}.{name}1", into, lambda t: (t,), lambda o: o, first_layer),
            Entry(f"{time}.{name}2", out, unfold, fold, first_layer),
        ]

    def head_norm(name: str, ours: str) -> Entry:
        return reshaped(f"{time}.ln_x.{name}", f"blocks/time_mix/{ours}", (d,), (h, k))

    return [
        same("emb.weight", "ends/embedding"),
        *_norm("blocks.0.ln0", "ends/embedding_norm"),
        *_norm("ln_out", "ends/final_norm"),
        linear("head.weight", "ends/head", (d,), (v,)),
        *_norm("blocks.{layer}.ln1", "blocks/time_norm"),
        *_norm("blocks.{layer}.ln2", "blocks/channel_norm"),
        *(share(name) for name in "rwkvag"),
        vector("w0", "decay"),
        vector("a0", "rate"),
        vector("v0", "value", first_layer=1),
        *low_rank("w", "decay"),
        *low_rank("a", "rate"),
        *low_rank("v", "value", first_layer=1),
        *low_rank("g", "gate"),
        vector("k_k", "scale_removed"),
        vector("k_a", "scale_rate"),
        same(f"{time}.r_k", "blocks/time_mix/bonus"),
        linear(f"{time}.receptance.weight", "blocks/time_mix/w_r", (d,), (h, k)),
        linear(f"{time}.key.weight", "blocks/time_mix/w_k", (d,), (h, k)),
        linear(f"{time}.value.weight", "blocks/time_mix/w_v", (d,), (h, k)),
        linear(f"{time}.output.weight", "blocks/time_mix/w_o", (h, k), (d,)),
        head_norm("weight", "norm_scale"),
        head_norm("bias", "norm_bias"),
        reshaped(f"{channel}.x_k", "blocks/channel_mix/share_k", (1, 1, d), (d,)),
        linear(f"{channel}.key.weight", "blocks/channel_mix/w_k", (d,), (f,)),
        linear(f"{channel}.value.weight", "blocks/channel_mix/w_v", (f,), (d,)),
    ]


def _norm(name: str, path: str) -> list[Entry]:
    return [same(f"{name}.weight", f"{path}/scale"), same(f"{name}.bias", f"{path}/bias")]
