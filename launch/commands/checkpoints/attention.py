"""What a checkpoint attends to in a prompt: a picture with a map for each layer and head.

CKPT is a run's folder, a study's, which stands for its verification run, or Hugging Face's. A row of a map is
a token that reads, a column one that it reads from, itself and those before it. The prompt begins as of
`isoflop sample`. With a mixture of experts each layer's routing stands beside its maps: the weight of every
expert for every token. F.png is an image, F.html a page that shows a map's name under the pointer.

Recurrent networks have no such maps: their layers hand on a state of constant size.

Example: isoflop attention out/quickstart --prompt "Returns the sum of" --out attention.png
"""

import sys
from pathlib import Path

from absl import flags

from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop attention CKPT --prompt TEXT --out F.png|F.html"
flags.DEFINE_string("prompt", None, "the text that is read", flag_values=FLAGS)
flags.DEFINE_string("out", None, "picture to write, .png or .html", flag_values=FLAGS)
MAX_TOKENS = 512
INSTEAD = {
    "encdec": "it reads one text and writes another",
    "rnn": "its decoder looks back at a source, as the study seq2seq_length draws",
}
RECURRENT = (
    "its layers hand on a state of constant size; what it makes of its context is said by isoflop evaluate "
    "CKPT --by position"
)


def run(args: list[str], flags) -> int:
    """Writes the picture."""
    if len(args) != 1 or flags.prompt is None or not flags.out:
        raise ValueError(f"expected one run or study folder, --prompt and --out, got {args}; usage: {USAGE}")
    out = Path(flags.out)
    if out.suffix not in (".png", ".html") or not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: it is a .png or .html file in a folder that exists")
    prepare_process()  # before anything imports jax
    import functools

    import jax
    import numpy as np

    from experiments.data.vocab import prompt_ids
    from experiments.evaluate.language_modelling import attention_picture
    from experiments.evaluate.loaded_model import load_model
    from experiments.files import write_atomic
    from models.attention_maps import FAMILIES, attention_maps

    loaded = load_model(Path(args[0]))
    family = loaded.config.model.family
    if family not in FAMILIES:
        why = INSTEAD.get(family, RECURRENT)
        raise ValueError(f"{loaded.folder} is of family {family}, without maps of attention: {why}")
    tokens, most = prompt_ids(loaded.vocab, flags.prompt), min(MAX_TOKENS, loaded.config.seq_len)
    if len(tokens) > most:
        raise ValueError(f"--prompt of {len(tokens)} tokens; {most} of this checkpoint can be drawn")
    maps = jax.jit(functools.partial(attention_maps, loaded.config.model))(
        loaded.params, np.array([tokens], np.int32)
    )
    said = loaded.token_bytes()
    labels = [attention_picture.label(token, said[token], loaded.vocab.eos_id) for token in tokens]
    name, attention_LHTS = loaded.folder.absolute().name, np.asarray(maps.attention_LBHTT)[:, 0]
    routing = None if maps.routing_LBTE is None else np.asarray(maps.routing_LBTE)[:, 0]
    svg = attention_picture.picture(name, labels, attention_LHTS, routing)
    drawn = attention_picture.png(svg) if out.suffix == ".png" else attention_picture.page(name, svg)
    write_atomic(out, drawn)
    if loaded.folder != Path(args[0]):
        print(f"of the study's verification run, {loaded.folder}", file=sys.stderr)
    n_layers, n_heads, n = attention_LHTS.shape[:3]
    experts = "" if routing is None else f", routing to {routing.shape[-1]} experts"
    print(f"{out}: {n_layers} layers of {n_heads} heads, {n} tokens{experts}")
    return 0
