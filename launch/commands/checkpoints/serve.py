"""Serve a checkpoint by the OpenAI protocol: any client of that can sample from it.

CKPT is a run's folder, a study's, which stands for its verification run, or Hugging Face's. There are
/v1/models, /v1/completions and /v1/chat/completions, the last for checkpoints that were taught conversations.
The model's name is that of its folder. Requests that come while others are answered join their batch; what is
said depends on prompt, seed and settings alone, not on who else asks. A response_format is enforced by masks,
as with isoflop sample --schema. docs/howto/serve.md says what is supported.

Only this machine can reach it. With --host of another address a token is needed, by --token or, unseen by
other users of the machine, in the environment as ISOFLOP_TOKEN; clients send it as their API key. SIGINT
(Ctrl-C) or SIGTERM ends it. Needs the extra `serve` (see `isoflop doctor`)

Example: isoflop serve out/quickstart --port 8000
"""

import os
import sys
from pathlib import Path

from absl import flags

from experiments.files.extras import install_command
from launch.serve.access import is_loopback
from launch.workers.process import prepare_process

FLAGS = flags.FlagValues()
USAGE = "isoflop serve CKPT [flags]"
flags.DEFINE_string("host", "127.0.0.1", "address to listen at", flag_values=FLAGS)
flags.DEFINE_integer("port", 8000, "port to listen at; 0 is any that is free", flag_values=FLAGS)
flags.DEFINE_string("token", None, "what clients must send; default: ISOFLOP_TOKEN", flag_values=FLAGS)
flags.DEFINE_integer("max_batch", 8, "texts that are decoded at a time; others wait", flag_values=FLAGS)
flags.DEFINE_enum(
    "weights", "float32", ["float32", "int8"], "int8 decodes faster on CPUs, and less exactly",
    flag_values=FLAGS,
)  # fmt: skip

MOST_ROWS = 4096  # for all of which there is room from the start


def run(args: list[str], flags) -> int:
    """Answers requests until it is told to stop."""
    if len(args) != 1:
        raise ValueError(f"expected one run or study folder, got {args}; usage: {USAGE}")
    token = flags.token or os.environ.get("ISOFLOP_TOKEN") or None
    if token is None and not is_loopback(flags.host):
        raise ValueError(f"--host {flags.host} without a token; other machines reach it: give --token")
    if not 0 <= flags.port < 2**16:
        raise ValueError(f"--port {flags.port}; it must be from 0 to 65535")
    if not 1 <= flags.max_batch <= MOST_ROWS:
        raise ValueError(f"--max_batch {flags.max_batch}; it must be from 1 to {MOST_ROWS:,}")
    prepare_process()  # before anything imports jax
    try:
        from launch.serve import app  # here: no other command needs aiohttp
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed: {install_command('serve')}") from None
    from experiments.evaluate.loaded_model import load_model

    loaded = load_model(Path(args[0]), flags.weights)
    if loaded.folder != Path(args[0]):
        print(f"serving the study's verification run, {loaded.folder}", file=sys.stderr)
    app.serve(loaded, flags.host, flags.port, token, flags.max_batch)
    return 0
