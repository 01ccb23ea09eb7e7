"""Bits a byte of single texts under a checkpoint, for processes that must not import jax, such as those that
prepare data:

    python -m experiments.evaluate.language_modelling.bits_per_byte CHECKPOINT

reads a list of texts on each line of stdin and answers with a list of numbers on a line of stdout, as JSON;
or, before it ends, with an object whose "error" says what is wrong. Every text is read by itself, from its
beginning, in windows of the checkpoint's context. Batches have one shape, however many texts are asked for.
"""

import json
import math
import os
import sys
from pathlib import Path

import numpy as np

from experiments.evaluate.language_modelling.token_losses import batch_rows, token_losses
from experiments.evaluate.loaded_model import LoadedModel, load_model


def bits_per_byte(loaded: LoadedModel, texts: list[str]) -> list[float]:
    """Mean over the bytes of each text of -log2 p(its tokens), the end of the text not asked for; 0 of an
    empty one. There must be one text or more.

    Raises:
      ValueError: a loss that is not finite, or a network with an encoder.
    """
    context, eos = loaded.config.seq_len, loaded.vocab.eos_id
    pieces, lengths = [], []
    for text in texts:
        tokens = loaded.vocab.encode(text)
        lengths.append(len(tokens))
        rest = -(len(tokens) + 1) % context  # of a text's last window: the next one begins a window
        pieces.append([eos, *tokens, *[eos] * rest])
    stream = np.array([token for piece in pieces for token in piece], np.int32)
    shape = context * batch_rows(loaded.model, context)
    padded = np.pad(stream, (0, -len(stream) % shape + 1), constant_values=eos)
    nats = token_losses(loaded.model, loaded.params, padded, context).astype(np.float64)
    starts = np.cumsum([0, *(len(piece) for piece in pieces)])
    sums = [nats[start : start + n].sum() for start, n in zip(starts, lengths)]
    if not np.isfinite(sums).all():
        raise ValueError(f"{loaded.folder}: its loss is not finite: it has diverged; give another checkpoint")
    return [float(s / math.log(2) / max(1, len(text.encode()))) for s, text in zip(sums, texts)]


def main(checkpoint: str) -> int:
    """Answers until stdin ends; 2 if something is wrong."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed goes to stderr
    try:
        loaded = load_model(Path(checkpoint))
        for line in sys.stdin:
            print(json.dumps(bits_per_byte(loaded, json.loads(line))), file=answers, flush=True)
    except (ValueError, OSError) as error:
        print(json.dumps({"error": str(error).replace("\n", " ")}), file=answers, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
