"""Texts that must have a form: a JSON schema, a regular expression, a grammar or one of some choices.

masks: `Vocabulary`, and the constraints `json_schema`, `regex`, `grammar` and `choice` as masks of tokens;
schema: which JSON schemas can be enforced to the letter; constrained_sampling: `sample_constrained`, with the
exact probability of what the constraint did, and `importance_weights`.

Others import these modules by name; importing the package itself does not load the engine. It imports
models.decoding and models.model.
"""

__all__ = ["constrained_sampling", "masks", "schema"]
