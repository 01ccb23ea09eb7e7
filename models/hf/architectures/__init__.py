"""How Hugging Face names and describes the networks that we read and write, an architecture a file.

Each has `config_from_json(fields)`, our configuration of a config.json; `config_to_json(config)`, the fields
of one, but for `phi3`; and `entries(config)`, every tensor of a checkpoint and which parameter it is.
`decoder` has what the decoders that came of Llama have in common, `rope` how rotary positions are spelled.

Read by models.hf.config_json alone; they import models.hf.entry, models.hf.fields and models.configs.
"""

__all__ = ["decoder", "deepseek", "gemma", "gpt2", "gpt_oss", "llama", "moe", "phi3", "rope", "rwkv", "t5"]
