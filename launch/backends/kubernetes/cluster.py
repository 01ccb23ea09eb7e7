"""The table [kubernetes] of a site file: what the cluster must know, and where the studies lie on it."""

import dataclasses
import math
import re
import typing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from experiments.fields import did_you_mean


@dataclass(frozen=True)
class Cluster:
    """The table [kubernetes] of a site file.

    image, claim: the workers' image; the volume claim that holds the study's folder, shared by all pods.
    mount, here: where the volume lies in the pods; where it lies on this machine (default: the same).
    queue: Kueue's local queue; without one the pods start as soon as nodes have room.
    gpus: GPUs of a pod. tpu, topology: GKE's accelerator type and slice, as "tpu-v5-lite-podslice" and "4x4";
    chips_per_host: of its machines (default: 4, or all of a smaller slice). hosts: pods that train one run
    together; of a TPU it follows from the topology.
    cpus, memory: of a worker's pod. user: numeric id that owns the files.
    setup: shell lines before the worker. workers: how many; one that spans several hosts counts once.
    """

    image: str
    claim: str
    mount: str = "/studies"
    here: str = ""
    namespace: str = "default"
    queue: str = ""
    workers: int = 1
    gpus: int = 0
    tpu: str = ""
    topology: str = ""
    chips_per_host: int = 0
    hosts: int = 0
    cpus: int = 1
    memory: str = "4Gi"
    user: int = -1
    service_account: str = ""
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: list[dict[str, Any]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    setup: list[str] = field(default_factory=list)

    def __post_init__(self):
        if bool(self.tpu) != bool(self.topology):
            raise ValueError("[kubernetes] tpu and topology belong together, as tpu-v5-lite-podslice and 4x4")
        if self.topology and not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", self.topology):
            raise ValueError(f'[kubernetes] topology = "{self.topology}"; write sizes, for example 4x4')
        if self.tpu and (self.gpus or self.hosts):
            raise ValueError("[kubernetes] a TPU slice has no gpus, and its hosts follow from the topology")
        if self.tpu and self.chips % self.chips_of_host:
            raise ValueError(
                f"[kubernetes] chips_per_host = {self.chips_of_host} does not divide the {self.chips} chips "
                f"of topology {self.topology}"
            )
        if self.workers < 1 or min(self.gpus, self.hosts, self.chips_per_host) < 0:
            raise ValueError("[kubernetes] workers is at least 1; gpus, hosts, chips_per_host at least 0")
        if self.cpus < 1:
            raise ValueError(f"[kubernetes] cpus = {self.cpus}; it must be at least 1")
        if not re.fullmatch(r"[1-9]\d*([KMGTPE]i?|k)?", self.memory):
            raise ValueError(f'[kubernetes] memory = "{self.memory}"; write bytes, or as 32Gi or 500M')
        for name in self.env:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"[kubernetes] env: {name!r} is no name of a variable")

    @property
    def chips(self) -> int:
        """Chips of a TPU slice; 0 where there is none."""
        return math.prod(map(int, self.topology.split("x"))) if self.topology else 0

    @property
    def chips_of_host(self) -> int:
        return self.chips_per_host or min(4, self.chips)

    @property
    def n_hosts(self) -> int:
        """Pods of one worker."""
        return self.chips // self.chips_of_host if self.tpu else max(1, self.hosts)

    @property
    def is_multi_device(self) -> bool:
        """Whether a worker trains one run on several devices or hosts."""
        return self.n_hosts > 1 or self.gpus > 1 or self.chips_of_host > 1


def read_cluster(site: dict[str, Any]) -> Cluster:
    """Checks the table [kubernetes] of a site file.

    Raises:
      ValueError: it is missing, or a key in it is unknown, missing or of another type.
    """
    table = site.get("kubernetes")
    if not isinstance(table, dict):
        raise ValueError(
            "the site file needs a table [kubernetes] with image and claim; see docs/howto/kubernetes.md"
        )
    known = {each.name: each for each in dataclasses.fields(Cluster)}
    for name, value in table.items():
        if name not in known:
            raise ValueError(f"[kubernetes] has no key {name!r}; {did_you_mean(name, known)}")
        if not _is_of(value, known[name].type):
            kind = known[name].type
            words = str(kind) if typing.get_args(kind) else getattr(kind, "__name__", "")
            raise ValueError(f"[kubernetes] {name} = {value!r}; expected {words.replace('typing.', '')}")
    if missing := {"image", "claim"} - table.keys():
        raise ValueError(f"[kubernetes] lacks {' and '.join(sorted(missing))}")
    return Cluster(**table)


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value from TOML is of a type such as int, list[str] or dict[str, Any]."""
    if kind is Any:
        return True
    if type(value) is not (typing.get_origin(kind) or kind):
        return False
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(_is_of(each, typing.get_args(kind)[-1]) for each in inside)


def folder_in_pods(folder: Path, cluster: Cluster) -> str:
    """Where a pod finds the study's folder.

    Raises:
      ValueError: the folder is not on the shared volume.
    """
    here = Path(cluster.here or cluster.mount)
    if not folder.is_relative_to(here):
        raise ValueError(
            f"{folder}: not below {here}, where [kubernetes] here (default: mount) says the volume "
            f"{cluster.claim!r} is on this machine; plan the study there, or change `here`"
        )
    return str(PurePosixPath(cluster.mount) / folder.relative_to(here).as_posix())
