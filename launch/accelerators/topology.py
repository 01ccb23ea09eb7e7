"""Devices to compile for, none of which need be here."""

import importlib.util
import math
import os
from dataclasses import dataclass
from typing import Any

import jax

from launch.accelerators.cards import ACCELERATORS, Accelerator, target_config

PLUGINS = {"gpu": ("cuda", "jax_plugins.xla_cuda13"), "tpu": ("tpu", "libtpu")}  # extra, and what it brings


@dataclass(frozen=True)
class Topology:
    """Accelerators that are joined: `per_host` is how many share the fast links."""

    text: str
    card: Accelerator
    shape: tuple[int, ...]

    @property
    def n_devices(self) -> int:
        return math.prod(self.shape)

    @property
    def per_host(self) -> int:
        """Devices that share the fast links: a GPU server's, or a whole TPU slice."""
        return self.shape[-1] if self.card.platform == "gpu" else self.n_devices


def parse_topology(text: str) -> Topology:
    """h100:8 is a server of 8 cards, h100:4x8 four of them; v5e:4x4 and v5p:2x2x4 are slices of chips.

    Raises:
      ValueError: not of that form, or an accelerator that is not known.
    """
    name, colon, sizes = text.partition(":")
    parts = sizes.split("x")
    if not colon or not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"--compile {text}: write ACCELERATOR:SIZES, such as h100:8, h100:8x8 or v5e:4x4")
    if name not in ACCELERATORS:
        raise ValueError(f"--compile {text}: no accelerator {name!r}; there are {', '.join(ACCELERATORS)}")
    card, shape = ACCELERATORS[name], tuple(map(int, parts))
    n_dimensions = {"gpu": (1, 2), "tpu": (3,) if name in ("v4", "v5p") else (2,)}[card.platform]
    if len(shape) not in n_dimensions:
        such = {1: f"{name}:8", 2: f"{name}:4x4", 3: f"{name}:2x2x2"}[n_dimensions[-1]]
        raise ValueError(f"--compile {text}: {len(shape)} sizes; write {such}")
    return Topology(text, card, shape)


def missing_plugin(platform: str) -> str:
    """Which extra brings the compiler for "gpu" or "tpu"; "" if it is here."""
    extra, module = PLUGINS[platform]
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    return "" if found else extra


def devices(topology: Topology) -> list[Any]:
    """Descriptions of the devices, for a mesh whose programs can be compiled, not run.

    Raises:
      ValueError: the compiler for them is not installed, or refuses the topology.
    """
    if extra := missing_plugin(topology.card.platform):
        raise ValueError(
            f"--compile {topology.text}: the compiler for it is not installed; "
            f"`pip install 'isoflop[{extra}]'` brings it, no card needed"
        )
    from jax.experimental import topologies

    options: dict[str, Any] = {}
    if topology.card.platform == "gpu":
        hosts = (1,) * (2 - len(topology.shape))
        options = {
            "platform": "cuda",
            "topology_name": topology.text.partition(":")[0],
            "target_config": target_config(topology.card),
            "topology": "x".join(map(str, (1, *hosts, *topology.shape))),  # slices, hosts, cards of a host
        }
    else:  # libtpu would ask the machine which TPU it is, and serve one process at a time
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_WORKER_ID", "0")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        options = {"platform": "tpu", "topology_name": topology.text}
    try:
        return topologies.get_topology_desc(**options).devices
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(f"--compile {topology.text}: {str(error).splitlines()[0]}") from None
