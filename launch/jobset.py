"""A study as a Kubernetes object: one JobSet with its workers and a small driver.

The driver plans the stages and finishes the study, the workers wait for runs until it has; the JobSet
succeeds when the driver does. What befalls a pod:

    drained, preempted   its worker saves its run, the pod is made anew and nobody counts that
    killed, no memory    counted for this worker alone; after WORKER_RETRIES it is left out, the others go on
    host of a gang lost  the others of the gang see it and leave (launch/hosts.py); all come back and resume
    driver lost          it starts again; where it says that runs have failed for good, the JobSet fails

So nothing restarts the whole JobSet: all state is in the study's folder, and a restart would stop healthy
runs.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import re
import shlex
import typing
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

WORKER_RETRIES = 20  # failures of one worker's pod; Kubernetes waits longer after each, up to minutes
GRACE_SECONDS = 40  # a worker saves within 20 s; then it and its libraries end
KEEP_SECONDS = 24 * 3600  # a finished JobSet stays to be looked at
PORT = 55527  # of a gang's coordinator
DRIVER_GAVE_UP = [1, 2]  # exit codes: runs have failed for good; the input is wrong
WORK_LEFT = 75  # exit code of a worker that was asked to leave
JOBSET = "jobset.sigs.k8s.io/jobset-name"  # label of every pod
ROLE = "jobset.sigs.k8s.io/replicatedjob-name"  # its value: driver or workers
JOB_INDEX = "metadata.labels['jobset.sigs.k8s.io/job-index']"
POD_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
MANIFEST = "isoflop/manifest"  # annotation: a hash of all the rest


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
    setup: shell lines before the worker. workers: how many (of gangs: gangs).
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
    def is_gang(self) -> bool:
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
            "the site file needs a table [kubernetes] with image and claim; see docs/kubernetes.md"
        )
    known = {each.name: each for each in dataclasses.fields(Cluster)}
    for name, value in table.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"[kubernetes] has no key {name!r}; {hint}")
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


def jobset(cluster: Cluster, folder: str, n_workers: int, pack: str) -> dict[str, Any]:
    """The manifest. The same study and settings give the same name and the same bytes."""
    slug = re.sub(r"[^a-z0-9]+", "-", PurePosixPath(folder).name.lower()).strip("-")[:18].rstrip("-")
    # Pods are called NAME-workers-JOB-POD-xxxxx, which must stay below 64 characters.
    name = "-".join(filter(None, ("isoflop", slug, hashlib.sha256(folder.encode()).hexdigest()[:6])))
    labels = {"app.kubernetes.io/name": "isoflop"}
    labels |= {"kueue.x-k8s.io/queue-name": cluster.queue} if cluster.queue else {}
    gave_up = {
        "name": "driverGaveUp",
        "action": "FailJobSet",
        "targetReplicatedJobs": ["driver"],
        "onJobFailureReasons": ["PodFailurePolicy"],
    }
    spec = {
        # Kueue starts what it has admitted; said here so that nothing starts before it has looked.
        **({"suspend": True} if cluster.queue else {}),
        "successPolicy": {"operator": "All", "targetReplicatedJobs": ["driver"]},
        "failurePolicy": {"maxRestarts": 0, "rules": [gave_up]},
        "ttlSecondsAfterFinished": KEEP_SECONDS,
        "replicatedJobs": [_driver(cluster, folder), _workers(cluster, folder, n_workers, pack, name)],
    }
    made = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, "namespace": cluster.namespace, "labels": labels},
        "spec": spec,
    }
    made["metadata"]["annotations"] = {MANIFEST: _digest(made)}
    return made


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]


def _driver(cluster: Cluster, folder: str) -> dict[str, Any]:
    command = f"isoflop submit {shlex.quote(folder)} --on local --workers 0"
    resources = {"requests": {"cpu": "1", "memory": "2Gi"}}
    pod = _pod(cluster, command, {"JAX_PLATFORMS": "cpu"}, resources)
    gave_up = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": DRIVER_GAVE_UP}}
    return {"name": "driver", "replicas": 1, "template": _job(pod, 1, gave_up, {"backoffLimit": 6})}


def _workers(cluster: Cluster, folder: str, n_workers: int, pack: str, name: str) -> dict[str, Any]:
    gang = " --hosts" if cluster.is_gang else ""
    command = f"python -m launch.worker {shlex.quote(folder)} --wait --pack {shlex.quote(pack)}{gang}"
    resources: dict[str, Any] = {"cpu": str(cluster.cpus), "memory": cluster.memory}
    selector, annotations = {}, {}
    if cluster.gpus:
        resources["nvidia.com/gpu"] = str(cluster.gpus)
    if cluster.tpu:
        resources["google.com/tpu"] = str(cluster.chips_of_host)
        selector["cloud.google.com/gke-tpu-accelerator"] = cluster.tpu
        selector["cloud.google.com/gke-tpu-topology"] = cluster.topology
    if cluster.tpu and cluster.n_hosts > 1:  # one slice, one gang
        annotations["alpha.jobset.sigs.k8s.io/exclusive-topology"] = "cloud.google.com/gke-nodepool"
    env = _gang_env(cluster.n_hosts, name) if cluster.n_hosts > 1 and not cluster.tpu else {}
    pod = _pod(cluster, command, env, {"requests": resources, "limits": resources})
    pod |= {"nodeSelector": selector | cluster.node_selector} if selector or cluster.node_selector else {}
    pod |= {"tolerations": cluster.tolerations} if cluster.tolerations else {}
    asked_to_leave = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [WORK_LEFT]}}
    size = cluster.n_hosts if cluster.is_gang else n_workers
    template = _job(pod, size, asked_to_leave, {"backoffLimitPerIndex": WORKER_RETRIES})
    if annotations:
        template["metadata"] = {"annotations": annotations}
    return {"name": "workers", "replicas": n_workers if cluster.is_gang else 1, "template": template}


def _gang_env(n_hosts: int, name: str) -> dict[str, Any]:
    """What launch/hosts.py joins by. GKE tells the hosts of a TPU slice itself."""
    return {
        "ISOFLOP_GANG": {"fieldRef": {"fieldPath": JOB_INDEX}},
        "ISOFLOP_COORDINATOR": f"{name}-workers-$(ISOFLOP_GANG)-0.{name}:{PORT}",
        "ISOFLOP_HOSTS": str(n_hosts),
        "ISOFLOP_HOST": {"fieldRef": {"fieldPath": POD_INDEX}},
    }


def _job(pod: dict[str, Any], size: int, rule: dict[str, Any], backoff: dict[str, int]) -> dict[str, Any]:
    """`size` pods with a number each; disruptions, as drains and preemptions, are not counted as failures."""
    disrupted = {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    return {
        "spec": {
            "completionMode": "Indexed",
            "completions": size,
            "parallelism": size,
            **backoff,
            "podReplacementPolicy": "Failed",  # never two pods of one number
            "podFailurePolicy": {"rules": [disrupted, rule]},
            "template": {"spec": pod},
        }
    }


def _pod(cluster: Cluster, command: str, env: dict[str, Any], resources: dict[str, Any]) -> dict[str, Any]:
    # The data prepared and the programs compiled by one pod serve the others.
    values = {"ISOFLOP_CACHE": f"{cluster.mount}/.cache/isoflop", **env, **cluster.env}
    container = {
        "name": "isoflop",
        "image": cluster.image,
        "command": ["/bin/sh", "-c", "\n".join(["set -e", *cluster.setup, f"exec {command}"])],
        "env": [
            {"name": key, "valueFrom" if isinstance(value, dict) else "value": value}
            for key, value in values.items()
        ],
        "resources": resources,
        "volumeMounts": [{"name": "studies", "mountPath": cluster.mount}],
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "containers": [container],
        "volumes": [{"name": "studies", "persistentVolumeClaim": {"claimName": cluster.claim}}],
    }
    if cluster.user >= 0:
        ids = ("runAsUser", "runAsGroup", "fsGroup")
        pod["securityContext"] = dict.fromkeys(ids, cluster.user)
    if cluster.service_account:
        pod["serviceAccountName"] = cluster.service_account
    return pod
