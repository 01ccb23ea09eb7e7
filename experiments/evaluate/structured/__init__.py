"""A required form from a model: how much is valid, at how many tokens, in what time.

    json_documents  JSON of given schemas by prompt, by repair and by constraint, on any checkpoint
    learnt_repair   post-processing learnt from a model's own frequent mistakes
    parsing         questions to queries: validity, execution, tokens, time and bias of each way

Imports what `experiments.evaluate` does.
"""

__all__ = ["json_documents", "learnt_repair", "parsing"]
