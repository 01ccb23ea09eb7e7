"""A config.json read field by field, so that no field that changes the network is passed over."""

from typing import Any

from models.configs.model_config import MAX_LAYERS

# Fields of every architecture that no logit depends on: who wrote the file, training, generation, outputs.
HARMLESS = frozenset(
    """
    _name_or_path _attn_implementation _commit_hash architectures auto_map dtype finetuning_task model_type
    task_specific_params tokenizer_class torch_dtype transformers_version use_cache
    attention_dropout classifier_dropout embd_pdrop attn_pdrop resid_pdrop dropout dropout_rate
    initializer_range initializer_factor
    bos_token_id cls_token_id decoder_start_token_id eos_token_id mask_token_id pad_token_id sep_token_id
    chunk_size_feed_forward gradient_checkpointing id2label is_encoder_decoder label2id num_labels
    output_attentions output_hidden_states output_scores problem_type return_dict return_dict_in_generate
    torchscript use_bfloat16
    bad_words_ids begin_suppress_tokens diversity_penalty do_sample early_stopping
    encoder_no_repeat_ngram_size exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id
    length_penalty max_length min_length no_repeat_ngram_size num_beam_groups num_beams num_return_sequences
    prefix remove_invalid_values repetition_penalty suppress_tokens temperature top_k top_p typical_p
    tf_legacy_loss
    """.split()  # noqa: SIM905
)
_REQUIRED = object()


class Fields:
    """The fields of a config.json that are still to be read.

    Every architecture takes the fields that it knows, requires the values that it supports, and calls `done`,
    which refuses whatever is left. Errors name the field, its value and what is allowed.
    """

    def __init__(self, fields: dict[str, Any], where: str = "config.json"):
        if not isinstance(fields, dict):
            raise ValueError(f"{where}: expected an object of fields, got {fields!r}")
        self.left, self.where = dict(fields), where

    def take(self, name: str, default: Any = _REQUIRED) -> Any:
        """The value of a field; `default` where it is absent or null. Without a default it must be there."""
        value = self.left.pop(name, None)
        if value is None and default is _REQUIRED:
            raise ValueError(f"{self.where}: {name} is missing; this architecture needs it")
        return default if value is None else value

    def layers(self, name: str, least: int = 1) -> int:
        """The value of a field that counts layers, of which lists are made: a whole number, not too large."""
        value = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_LAYERS:
            allowed = f"a whole number from {least} to {MAX_LAYERS:,}"
            raise ValueError(f"{self.where}: {name}={value!r} is not supported; allowed: {allowed}")
        return value

    def require(self, name: str, *allowed: Any, default: Any = None) -> Any:
        """The value of a field that must be one of `allowed`; `default` where it is absent or null."""
        value = self.take(name, allowed[0] if default is None else default)
        return self.translate(name, {each: each for each in allowed}, value)

    def translate(self, name: str, names: dict[Any, Any], default: Any = _REQUIRED) -> Any:
        """Our word for a field's value."""
        value = self.take(name, default)
        if isinstance(value, (list, dict)) or value not in names:
            raise ValueError(
                f"{self.where}: {name}={value!r} is not supported; allowed: {', '.join(map(repr, names))}"
            )
        return names[value]

    def done(self, *harmless: str) -> None:
        """Refuses every field that was not taken, unless it is null or known to change no logit."""
        unknown = {
            name: value
            for name, value in self.left.items()
            if value is not None and name not in HARMLESS and name not in harmless
        }
        if unknown:
            shown = ", ".join(f"{name}={value!r}" for name, value in unknown.items())
            raise ValueError(
                f"{self.where}: unknown {shown}; fields that might change the network are not ignored; "
                "remove them if they do not"
            )
