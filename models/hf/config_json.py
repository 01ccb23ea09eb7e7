"""From a config.json to our description of a network and back, by architecture."""

from dataclasses import fields, replace
from types import ModuleType
from typing import Any

from models.configs.model_config import ModelConfig
from models.configs.transformer import TransformerConfig
from models.hf.architectures import deepseek, gemma, gpt2, gpt_oss, llama, moe, phi3, rwkv, t5
from models.hf.fold import fold
from models.parametrization import attention_scale

# By the `model_type` of a config.json; RWKV-7's, which has none, calls it `architecture`.
MODULES: dict[str, ModuleType] = {
    **dict.fromkeys(llama.ARCHITECTURES, llama),
    **dict.fromkeys(moe.ARCHITECTURES, moe),
    **dict.fromkeys(gemma.ARCHITECTURES, gemma),
    **dict.fromkeys(deepseek.ARCHITECTURES, deepseek),
    "phi3": phi3,
    "gpt_oss": gpt_oss,
    "gpt2": gpt2,
    "t5": t5,
    "rwkv": rwkv,
    "rwkv7": rwkv,
}
# By what is in `architectures`: the model type.
NAMED = llama.ARCHITECTURES | moe.ARCHITECTURES | gemma.ARCHITECTURES | deepseek.ARCHITECTURES
ARCHITECTURES = {name: kind for kind, name in NAMED.items()} | {
    "Phi3ForCausalLM": "phi3",
    "GptOssForCausalLM": "gpt_oss",
    "GPT2LMHeadModel": "gpt2",
    "T5ForConditionalGeneration": "t5",
    "RwkvForCausalLM": "rwkv",
}
FAMILIES = {"moe": moe, "encdec": t5, "rwkv4": rwkv, "rwkv7": rwkv}


def config_from_json(described: dict[str, Any]) -> tuple[ModuleType, ModelConfig]:
    """The module of an architecture, and our description of the network in a config.json.

    Raises:
      ValueError: an architecture or a field that we do not support.
    """
    if not isinstance(described, dict):
        raise ValueError(f"config.json: expected an object, got {described!r}")
    names = described.get("architectures") or []
    kind = described.get("model_type") or described.get("architecture")
    if isinstance(names, list) and len(names) == 1 and str(names[0]) in ARCHITECTURES:
        kind = ARCHITECTURES[names[0]]
    elif names or not isinstance(kind, str) or kind not in MODULES:
        allowed = ", ".join([*ARCHITECTURES, "rwkv7"])
        raise ValueError(
            f"config.json: architectures={names!r}, model_type={kind!r} is not supported; allowed: {allowed}"
        )
    try:
        return MODULES[kind], MODULES[kind].config_from_json(described | {"model_type": kind})
    except (TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"config.json: a field has a value that it cannot have ({error})") from None


def config_to_json(config: ModelConfig) -> tuple[ModuleType, ModelConfig, dict[str, Any], dict[str, float]]:
    """The module and the config.json of the architecture that says all that `config` says.

    Also the configuration it is written from, `config` or what `fold` makes of it, and what parameters are
    to be multiplied with, by path.

    Raises:
      ValueError: no architecture does.
    """
    module: Any = FAMILIES.get(config.family)
    if isinstance(config, TransformerConfig) and config.family == "moe":
        module = deepseek if config.latent else gpt_oss if config.sinks else moe
    attempts: list[tuple[ModelConfig, dict[str, float]]] = [(config, {})]
    if isinstance(config, TransformerConfig):
        attempts.append(fold(config))
        if config.family == "transformer":
            module = gpt2 if config.norm == "layer" else gemma if config.norm_position == "both" else llama
    if module is None:
        raise ValueError(f"model: family={config.family!r} has no Hugging Face architecture")
    said = ""
    for attempt, factors in attempts:
        described = module.config_to_json(attempt)
        asked, got = meaning(attempt), meaning(config_from_json(described)[1])
        differ = [name for name in asked if asked[name] != got.get(name)]
        if not differ:
            return module, attempt, described, factors
        name = described.get("architectures", [config.family])[0]
        wrong = ", ".join(f"{field}={asked[field]!r} (it has {got.get(field)!r})" for field in differ)
        said = f"model: {name}, the nearest architecture, cannot have {wrong}"
    raise ValueError(said)


def meaning(config: ModelConfig) -> dict[str, Any]:
    """The fields that logits depend on, one spelling for each."""
    plain: Any = config
    if isinstance(plain, TransformerConfig):
        plain = replace(plain, attention_scale=attention_scale(plain))
        if plain.positions != "learned":
            plain = replace(plain, max_len=0)
        if plain.experts:
            training = {"dispatch": "dropless", "capacity_factor": 1.0, "balance_loss": 0.0, "z_loss": 0.0}
            d_ff = plain.d_ff if plain.experts.dense_layers else 1
            plain = replace(plain, experts=replace(plain.experts, **training), d_ff=d_ff)
    how = ("dtype", "remat", "chunk")  # of computing the same
    return {field.name: getattr(plain, field.name) for field in fields(plain) if field.name not in how}
