"""Heads that answer with classes or a number, as …ForSequenceClassification of transformers: a matrix without
a bias, `score.weight`, that reads the last token which is not padding."""

from typing import Any

import numpy as np

# Architectures of transformers that have one, by model_type; their networks are kept as with the other head.
SCORED = ("gemma2", "gpt2", "llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe")
PADDING = 0  # in every vocabulary of ours


def config_to_json(described: dict[str, Any], head: dict[str, Any]) -> dict[str, Any]:
    """The config.json of the network with this head in place of that over the vocabulary.

    Raises:
      ValueError: transformers has none for the architecture.
    """
    kind, n = described.get("model_type"), np.shape(head["w"])[1]
    if kind not in SCORED:
        raise ValueError(
            f"head: {kind or described.get('architecture')} has no …ForSequenceClassification; allowed are "
            f"{', '.join(SCORED)}"
        )
    [name] = described["architectures"]
    base = name.removesuffix("ForCausalLM").removesuffix("LMHeadModel")
    labels = {str(i): f"LABEL_{i}" for i in range(n)}
    return described | {
        "architectures": [f"{base}ForSequenceClassification"],
        "id2label": labels,
        "label2id": {label: int(i) for i, label in labels.items()},
        "problem_type": "regression" if n == 1 else "single_label_classification",
        "pad_token_id": PADDING,
    }


def fold_bias(
    arrays: dict[str, Any], head: dict[str, Any]
) -> tuple[dict[str, Any], np.ndarray, dict[str, float]]:
    """The network's arrays by path and the matrix [n, d_model] of the head, its bias put where it can be.

    A final norm with a bias takes it, as nothing else reads that norm. Else a bias that is alike for all
    outputs is left out: it changes no probability of a class, and all rewards alike. What was left out is for
    config.json, where transformers keeps it and does nothing with it: {"score_bias": what rewards lack}.

    Raises:
      ValueError: biases that differ, and a final norm without one.
    """
    w, b = np.asarray(head["w"], np.float32), np.asarray(head["b"], np.float32)
    path = "ends/final_norm/bias"
    if path in arrays:
        return arrays | {path: np.asarray(arrays[path]) + np.linalg.lstsq(w.T, b)[0]}, w.T, {}
    if np.ptp(b) > 0:
        raise ValueError(
            f"head: biases {b.tolist()} differ, and …ForSequenceClassification has none; train it without"
        )
    return arrays, w.T, {"score_bias": float(b[0])}
