"""What isoflop can do without: the extras of setup.py, and how to install one."""

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Extra:
    """What an extra is for, and the modules that it brings."""

    purpose: str
    modules: tuple[str, ...]


EXTRAS = {
    "cuda": Extra("NVIDIA GPUs", ("jax_cuda13_plugin",)),
    "tpu": Extra("Cloud TPUs", ("libtpu",)),
    "data": Extra("filters and domains that learn", ("sklearn",)),
    "web": Extra("WARC, WET and HTML", ("fastwarc", "resiliparse")),
    "hf-datasets": Extra("datasets of Hugging Face by name", ("datasets",)),
    "tokenizers": Extra("tokenizer.json files", ("tokenizers",)),
    "serve": Extra("isoflop serve", ("aiohttp",)),
    "kubernetes": Extra("isoflop submit --on kubernetes", ("kubernetes",)),
    "tensorboard": Extra("isoflop tensorboard", ("tensorboardX",)),
    "lm-eval": Extra("EleutherAI's harness", ("lm_eval",)),
}


def install_command(extra: str) -> str:
    """The command that adds an extra to this Python: from the clone that is running, else from the index that
    isoflop was installed from. It can be pasted anywhere: its paths are absolute. "" is no extra."""
    pip, extras = f"{sys.executable} -m pip install", f"[{extra}]" if extra else ""
    if (ROOT / "setup.py").is_file():
        return f"{pip} -c {ROOT / 'constraints.txt'} -e '{ROOT}{extras}'"
    return f"{pip} 'isoflop{extras}'"
