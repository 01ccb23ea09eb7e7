"""Loss and bits per byte of a checkpoint on text.

    tokenized_text   a split of a prepared corpus, or the user's own files, as tokens
    token_losses     the loss of every token of a text
    perplexity       their sums by document, group and position with intervals
    bits_per_byte    of single texts, in a process that those ask which must not import jax
    text_score       the same for a checkpoint on disk, from the cache where it is known
    attention_picture  the weights of its attention to a prompt, as SVG

Imports models, experiments.data and experiments.evaluate's paths, cache, statistics and task items.
"""

__all__ = ["attention_picture", "bits_per_byte", "perplexity", "text_score", "token_losses", "tokenized_text"]
