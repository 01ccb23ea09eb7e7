"""A study as a Kubernetes object: one JobSet with its workers and a small driver.

The driver plans the stages and finishes the study, the workers wait for runs until it has; the JobSet
succeeds when the driver does. What befalls a pod:

    drained, preempted   its worker saves its run, the pod is made anew and nobody counts that
    killed, no memory    counted for this worker alone; after WORKER_RETRIES it is left out, the others go on
    one host lost        the other hosts of its worker see it and leave (launch/workers/hosts.py); all come
                         back and resume
    driver lost          it starts again; where it says that runs have failed for good, the JobSet fails

So nothing restarts the whole JobSet: all state is in the study's folder, and a restart would stop healthy
runs.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from experiments.files import user_code
from launch.backends.kubernetes.cluster import Cluster
from launch.workers.process import WORK_LEFT

WORKER_RETRIES = 20  # failures of one worker's pod; Kubernetes waits longer after each, up to minutes
GRACE_SECONDS = 40  # a worker saves within 20 s; then it and its libraries end
KEEP_SECONDS = 24 * 3600  # a finished JobSet stays to be looked at
PORT = 55527  # of the coordinator of a worker's hosts
DRIVER_GAVE_UP = [1, 2]  # exit codes: runs have failed for good; the input is wrong
JOBSET = "jobset.sigs.k8s.io/jobset-name"  # label of every pod
ROLE = "jobset.sigs.k8s.io/replicatedjob-name"  # its value: driver or workers
JOB_INDEX = "metadata.labels['jobset.sigs.k8s.io/job-index']"
POD_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
MANIFEST = "isoflop/manifest"  # annotation: a hash of all the rest


def jobset(
    cluster: Cluster, folder: str, n_workers: int, pack: str, code: Sequence[str] = ()
) -> dict[str, Any]:
    """The manifest. The same study and settings give the same name and the same bytes.

    Args:
      cluster: from the site file.
      folder: of the study, as pods see it.
      n_workers: pods that train.
      pack: how many runs train as one program, a number or "auto".
      code: what workers are told of the user's own files.
    """
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
        "replicatedJobs": [
            _driver(cluster, folder),
            _workers(cluster, folder, n_workers, [pack, *code], name),
        ],
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
    command = shlex.join(
        ["isoflop", "submit", folder, "--on", "local", "--workers", "0", *user_code.flags(folder)]
    )
    resources = {"requests": {"cpu": "1", "memory": "2Gi"}}
    pod = _pod(cluster, command, {"JAX_PLATFORMS": "cpu"}, resources)
    gave_up = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": DRIVER_GAVE_UP}}
    return {"name": "driver", "replicas": 1, "template": _job(pod, 1, gave_up, {"backoffLimit": 6})}


def _workers(
    cluster: Cluster, folder: str, n_workers: int, pack_and_code: list[str], name: str
) -> dict[str, Any]:
    words = ["python", "-P", "-m", "launch.workers.worker", folder, "--wait", "--pack", *pack_and_code]
    command = shlex.join([*words, *(["--hosts"] if cluster.is_multi_device else [])])
    resources: dict[str, Any] = {"cpu": str(cluster.cpus), "memory": cluster.memory}
    selector, annotations = {}, {}
    if cluster.gpus:
        resources["nvidia.com/gpu"] = str(cluster.gpus)
    if cluster.tpu:
        resources["google.com/tpu"] = str(cluster.chips_of_host)
        selector["cloud.google.com/gke-tpu-accelerator"] = cluster.tpu
        selector["cloud.google.com/gke-tpu-topology"] = cluster.topology
    if cluster.tpu and cluster.n_hosts > 1:  # one slice, one worker
        annotations["alpha.jobset.sigs.k8s.io/exclusive-topology"] = "cloud.google.com/gke-nodepool"
    env = _hosts_env(cluster.n_hosts, name) if cluster.n_hosts > 1 and not cluster.tpu else {}
    pod = _pod(cluster, command, env, {"requests": resources, "limits": resources})
    pod |= {"nodeSelector": selector | cluster.node_selector} if selector or cluster.node_selector else {}
    pod |= {"tolerations": cluster.tolerations} if cluster.tolerations else {}
    asked_to_leave = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [WORK_LEFT]}}
    size = cluster.n_hosts if cluster.is_multi_device else n_workers
    template = _job(pod, size, asked_to_leave, {"backoffLimitPerIndex": WORKER_RETRIES})
    if annotations:
        template["metadata"] = {"annotations": annotations}
    return {"name": "workers", "replicas": n_workers if cluster.is_multi_device else 1, "template": template}


def _hosts_env(n_hosts: int, name: str) -> dict[str, Any]:
    """What launch/workers/hosts.py joins by. GKE tells the hosts of a TPU slice itself."""
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
    given = {"ISOFLOP_CACHE": f"{cluster.mount}/.cache/isoflop", **cluster.env}
    values = env | {key: _literal(value) for key, value in given.items()}
    container = {
        "name": "isoflop",
        "image": cluster.image,
        "command": ["/bin/sh", "-c", _literal("\n".join(["set -e", *cluster.setup, f"exec {command}"]))],
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


def _literal(text: str) -> str:
    """A text as Kubernetes must be given it: it replaces $(NAME) and $$ before a shell sees them."""
    return text.replace("$", "$$")
