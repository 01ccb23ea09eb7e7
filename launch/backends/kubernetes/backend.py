"""Studies on Kubernetes: shows the JobSet of launch/backends/kubernetes/jobset.py, or applies it through
the official client."""

import contextlib
import importlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from experiments.files.extras import install_command
from launch.backends.interface import JobLog, Submission
from launch.backends.kubernetes.cluster import folder_in_pods, read_cluster
from launch.backends.kubernetes.jobset import GRACE_SECONDS, JOBSET, MANIFEST, ROLE, jobset
from launch.store import Store, study_file

JOBSETS = {"group": "jobset.x-k8s.io", "version": "v1alpha2", "plural": "jobsets"}
TIMEOUT_SECONDS = 30  # of one call
POLL_SECONDS = 0.5
SHOWN = 10  # lines about pods that do not run


def submit(submission: Submission) -> str:
    """Creates the study's JobSet, or replaces one that ended or was made with other settings.

    Raises:
      ValueError: the site file or the folder is not what it should be, or the cluster refuses.
    """
    cluster = read_cluster(submission.site)
    n_workers = cluster.workers if submission.n_workers is None else submission.n_workers
    if n_workers < 1:
        raise ValueError("--on kubernetes needs at least one worker")
    if not submission.more_stages:
        n_workers = max(1, min(n_workers, len(submission.unfinished)))
    folder = folder_in_pods(submission.store.folder, cluster)
    code = study_file.worker_code(submission.store, folder)
    manifest = jobset(cluster, folder, n_workers, submission.pack, code)
    if submission.dry_run:
        return yaml.safe_dump(manifest, sort_keys=False)
    name, namespace = manifest["metadata"]["name"], cluster.namespace
    with _plain_errors():
        api = _client().CustomObjectsApi()
        there = _get(api, namespace, name)
        if there and not _ended(there) and _digest(there) == _digest(manifest):
            return f"JobSet {namespace}/{name} is there already; nothing changed"
        if there:
            _delete(api, namespace, name)
            _wait_until_gone(api, namespace, name)
        api.create_namespaced_custom_object(
            **JOBSETS, namespace=namespace, body=manifest, _request_timeout=TIMEOUT_SECONDS
        )
    submission.store.record_job(
        {"backend": "kubernetes", "id": name, "namespace": namespace, "kind": "workers", "slots": n_workers}
    )
    return f"JobSet {namespace}/{name} {'replaced' if there else 'created'}: {n_workers} workers and a driver"


def cancel(jobs: list[dict[str, Any]]) -> str:
    """Deletes the JobSets; their workers save their runs first."""
    known = sorted({(job["namespace"], job["id"]) for job in jobs})
    with _plain_errors():
        api = _client().CustomObjectsApi()
        deleted = [f"{namespace}/{name}" for namespace, name in known if _delete(api, namespace, name)]
    return f"deleted JobSet {', '.join(deleted)}" if deleted else "no JobSet of this study is left"


def states(jobs: list[dict[str, Any]]) -> list[str]:
    """How the pods are, and why some do not run: one call for all JobSets of a namespace."""
    lines = []
    with _plain_errors():
        api = _client().CoreV1Api()
        for namespace in sorted({job["namespace"] for job in jobs}):
            names = sorted({job["id"] for job in jobs if job["namespace"] == namespace})
            pods = api.list_namespaced_pod(
                namespace,
                label_selector=f"{JOBSET} in ({','.join(names)})",
                _request_timeout=TIMEOUT_SECONDS,
            ).items
            counts = Counter((pod.metadata.labels.get(ROLE, ""), pod.status.phase) for pod in pods)
            said = ", ".join(f"{n} {role} {phase.lower()}" for (role, phase), n in sorted(counts.items()))
            lines.append(f"{namespace}/{','.join(names)}: {said or 'no pods: queued, or ended'}")
            troubles = [f"{pod.metadata.name}: {why}" for pod in pods if (why := _trouble(pod.status))]
            lines += troubles[:SHOWN]
            if len(troubles) > SHOWN:
                lines.append(f"and {len(troubles) - SHOWN} more pods that do not run")
    return lines


def logs(store: Store) -> list[Path]:
    """None: what pods print is in the cluster, for `kubectl logs`."""
    return []


def log_of_process(store: Store, owner: dict[str, Any]) -> JobLog | None:
    """None, likewise; `isoflop status --scheduler` says why pods do not run."""
    return None


def _trouble(status: Any) -> str:
    """Why a pod does not run, in one line; "" if it does, or did to its end."""
    for container in status.container_statuses or ():
        if (ended := container.state.terminated) and ended.exit_code:
            return f"exit code {ended.exit_code} ({ended.reason})" + _tail(status.message or ended.message)
        if (waiting := container.state.waiting) and waiting.reason != "ContainerCreating":
            return f"{waiting.reason}{_tail(waiting.message)}"
    if status.phase == "Failed":
        return f"{status.reason or 'failed'}{_tail(status.message)}"
    for condition in status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"{condition.reason}{_tail(condition.message)}"
    return ""


def _tail(message: str | None) -> str:
    return f": {' '.join(message.split())}" if message else ""


# ---- the API -------------------------------------------------------------------------------------------


def _client() -> Any:
    """The official client; kubeconfig or, in a pod, its service account says where the cluster is."""
    try:
        client = importlib.import_module("kubernetes.client")
        config = importlib.import_module("kubernetes.config")
    except ImportError:
        raise ValueError(
            f"kubernetes: the client is not installed: {install_command('kubernetes')}; "
            "or --dry-run | kubectl apply -f -"
        ) from None
    try:
        config.load_kube_config(os.environ.get("KUBECONFIG"))
    except config.ConfigException as error:
        try:
            config.load_incluster_config()
        except config.ConfigException:
            raise ValueError(f"kubernetes: no cluster is configured ({error}) Set KUBECONFIG") from None
    return client


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """The cluster's refusals in its own words, in one line."""
    try:
        yield
    except Exception as error:
        if hasattr(error, "status") and hasattr(error, "body"):  # the client's ApiException
            raise ValueError(f"kubernetes: {_refusal(error)}") from None
        if type(error).__module__.startswith("urllib3"):
            raise ValueError(f"kubernetes: the cluster does not answer: {error}") from None
        raise


def _refusal(error: Any) -> str:
    if error.status == 404:
        return "the cluster knows no JobSets: install them, https://jobset.sigs.k8s.io"
    with contextlib.suppress(yaml.YAMLError, KeyError, TypeError):
        return yaml.safe_load(error.body)["message"]
    return f"{error.status} {error.reason}"


def _get(api: Any, namespace: str, name: str) -> dict[str, Any] | None:
    with _absent_is_fine():
        return api.get_namespaced_custom_object(
            **JOBSETS, namespace=namespace, name=name, _request_timeout=TIMEOUT_SECONDS
        )


def _delete(api: Any, namespace: str, name: str) -> bool:
    """Whether there was anything to delete. The object goes when all its pods have gone."""
    with _absent_is_fine():
        api.delete_namespaced_custom_object(
            **JOBSETS,
            namespace=namespace,
            name=name,
            propagation_policy="Foreground",
            _request_timeout=TIMEOUT_SECONDS,
        )
        return True
    return False


@contextlib.contextmanager
def _absent_is_fine() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if getattr(error, "status", None) != 404:
            raise


def _wait_until_gone(api: Any, namespace: str, name: str) -> None:
    deadline = time.monotonic() + 3 * GRACE_SECONDS
    while _get(api, namespace, name):
        if time.monotonic() > deadline:
            raise ValueError(f"JobSet {namespace}/{name} is being deleted; submit again when it has gone")
        time.sleep(POLL_SECONDS)


def _ended(there: dict[str, Any]) -> bool:
    conditions = there.get("status", {}).get("conditions", [])
    return any(c["type"] in ("Completed", "Failed") and c["status"] == "True" for c in conditions)


def _digest(manifest: dict[str, Any]) -> str:
    return manifest["metadata"].get("annotations", {}).get(MANIFEST, "")
