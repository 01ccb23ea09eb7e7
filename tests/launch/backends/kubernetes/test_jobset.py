"""Manifests are checked against the schemas of Kubernetes and JobSet; what they should bring about is said in
launch/backends/kubernetes/jobset.py."""

import re
import shlex

import kubernetes_validate
import pytest
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

from launch.backends.kubernetes.cluster import read_cluster
from launch.backends.kubernetes.jobset import jobset

TABLE = {"image": "registry.example/isoflop:1", "claim": "studies"}
FULL = TABLE | {
    "namespace": "research",
    "queue": "team-a",
    "gpus": 1,
    "cpus": 8,
    "memory": "32Gi",
    "user": 1000,
    "service_account": "trainer",
    "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "env": {"XLA_FLAGS": "--xla_gpu_enable_latency_hiding_scheduler=true"},
    "setup": ["ulimit -n 65536"],
}
SLICE = TABLE | {"tpu": "tpu-v5-lite-podslice", "topology": "4x4"}
TABLES = {"plain": TABLE, "gpus": FULL, "slice": SLICE, "multihost": TABLE | {"gpus": 8, "hosts": 2}}


def made(table: dict, n_workers: int = 3) -> dict:
    return jobset(read_cluster({"kubernetes": table}), "/studies/out/Moe 2", n_workers, "auto")


def parts(manifest: dict) -> tuple[dict, dict]:
    driver, workers = manifest["spec"]["replicatedJobs"]
    assert (driver["name"], workers["name"]) == ("driver", "workers")
    return driver, workers


def pod(part: dict) -> dict:
    return part["template"]["spec"]["template"]["spec"]


def script(part: dict) -> str:
    return pod(part)["containers"][0]["command"][-1]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_manifests_are_what_the_schemas_allow(table):
    manifest = made(table)
    assert JobsetV1alpha2JobSet.from_dict(manifest).to_dict() == manifest
    for part in parts(manifest):
        # The API server gives every pod's template these; JobSet's own schema knows no more of a Job.
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, **part["template"]}
        job["metadata"] = {"name": "x", **part["template"].get("metadata", {})}
        kubernetes_validate.validate(job, "1.37", strict=True)


def test_schemas_would_have_found_a_misspelt_field():
    manifest = made(TABLE)
    manifest["spec"]["failurePolicy"]["maxRestart"] = manifest["spec"]["failurePolicy"].pop("maxRestarts")
    assert JobsetV1alpha2JobSet.from_dict(manifest).to_dict() != manifest


def test_pool_of_gpu_workers():
    driver, workers = parts(made(FULL, n_workers=3))
    assert workers["replicas"] == 1
    assert workers["template"]["spec"]["parallelism"] == workers["template"]["spec"]["completions"] == 3
    limits = pod(workers)["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"}
    assert pod(workers)["nodeSelector"] == FULL["node_selector"]
    assert pod(workers)["tolerations"] == FULL["tolerations"]
    lines = ["set -e", "ulimit -n 65536"]
    assert script(workers).split("\n") == [
        *lines,
        "exec python -P -m launch.workers.worker '/studies/out/Moe 2' --wait --pack auto",
    ]
    assert script(driver).split("\n") == [
        *lines,
        "exec isoflop submit '/studies/out/Moe 2' --on local --workers 0",
    ]
    assert "nodeSelector" not in pod(driver), "the driver needs no accelerator and must not wait for one"
    assert {"name": "JAX_PLATFORMS", "value": "cpu"} in pod(driver)["containers"][0]["env"]
    for part in (driver, workers):
        assert pod(part)["securityContext"] == {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}
        assert pod(part)["serviceAccountName"] == "trainer"


def expanded(text: str) -> str:
    """What Kubernetes makes of it where no variable is known: $$ is $, and $(NAME) stays."""
    return re.sub(r"\$\$", "$", text)


def test_what_kubernetes_would_replace_reaches_the_shell_as_it_was_written():
    lines = ["echo $$ $(HOME) ${HOME} $HOME", "export X=$(date)"]
    table = TABLE | {"setup": lines, "env": {"MOTTO": "$(HOME) costs $$5"}}
    folder = "/studies/$(HOME)/a$$b"
    manifest = jobset(read_cluster({"kubernetes": table}), folder, 1, "auto")
    for part in parts(manifest):
        assert expanded(script(part)).split("\n")[1:3] == lines
        assert folder in shlex.split(expanded(script(part)).split("\n")[3])
        assert "$(" not in script(part).replace("$$", "")
        env = {each["name"]: each["value"] for each in pod(part)["containers"][0]["env"] if "value" in each}
        assert expanded(env["MOTTO"]) == "$(HOME) costs $$5"


@pytest.mark.parametrize(
    ("topology", "chips_per_host", "n_hosts", "chips"),
    [("1x1", 0, 1, 1), ("2x2", 0, 1, 4), ("4x4", 0, 4, 4), ("2x4", 8, 1, 8), ("2x2x4", 0, 4, 4)],
)
def test_hosts_of_a_slice_follow_from_its_topology(topology, chips_per_host, n_hosts, chips):
    table = SLICE | {"topology": topology, "chips_per_host": chips_per_host}
    manifest = made(table, n_workers=2)
    workers = parts(manifest)[1]
    is_multihost = chips > 1
    assert ("--hosts" in script(workers)) == is_multihost, "one process owns all chips of a host"
    assert workers["replicas"] == (2 if is_multihost else 1)
    assert workers["template"]["spec"]["parallelism"] == (n_hosts if is_multihost else 2)
    assert pod(workers)["containers"][0]["resources"]["limits"]["google.com/tpu"] == str(chips)
    assert pod(workers)["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == topology
    assert ("metadata" in workers["template"]) == (n_hosts > 1), "no two workers share a slice"


def test_hosts_of_a_multihost_worker_with_gpus_know_who_they_are():
    manifest = made(TABLE | {"gpus": 8, "hosts": 2}, n_workers=4)
    workers = parts(manifest)[1]
    name = manifest["metadata"]["name"]
    assert workers["replicas"] == 4
    env = {each["name"]: each for each in pod(workers)["containers"][0]["env"]}
    assert env["ISOFLOP_HOSTS"]["value"] == "2"
    assert env["ISOFLOP_COORDINATOR"]["value"] == f"{name}-workers-$(ISOFLOP_GANG)-0.{name}:55527"
    names = [each["name"] for each in pod(workers)["containers"][0]["env"]]
    assert names.index("ISOFLOP_GANG") < names.index("ISOFLOP_COORDINATOR"), "else it is not substituted"


def test_what_fails_restarts_itself_alone():
    for table in TABLES.values():
        manifest = made(table)
        policy = manifest["spec"]["failurePolicy"]
        assert policy["maxRestarts"] == 0, "a restart of the JobSet would stop the healthy workers"
        assert manifest["spec"]["successPolicy"] == {
            "operator": "All",
            "targetReplicatedJobs": ["driver"],
        }
        for part in parts(manifest):
            job = part["template"]["spec"]
            assert pod(part)["restartPolicy"] == "Never", "else no podFailurePolicy"
            assert pod(part)["terminationGracePeriodSeconds"] > 20, "a worker saves its run within 20 s"
            disrupted, by_code = job["podFailurePolicy"]["rules"]
            assert disrupted["action"] == "Ignore"
            codes = (by_code["action"], by_code["onExitCodes"]["values"])
            assert codes == (("FailJob", [1, 2]) if part["name"] == "driver" else ("Ignore", [75]))


def test_kueue_holds_back_what_has_a_queue():
    assert "suspend" not in made(TABLE)["spec"]
    manifest = made(FULL)
    assert manifest["spec"]["suspend"] is True
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"


def test_same_study_same_manifest_and_names_that_fit():
    assert made(TABLE) == made(TABLE)
    assert made(TABLE)["metadata"]["annotations"] != made(TABLE, n_workers=4)["metadata"]["annotations"]
    cluster = read_cluster({"kubernetes": TABLE})
    names = {
        jobset(cluster, folder, 1, "auto")["metadata"]["name"]
        for folder in ("/studies/" + 80 * "long", "/studies/a/x", "/studies/b/x", "/studies/___")
    }
    assert len(names) == 4
    assert all(len(f"{name}-workers-999-99999-abcde") < 64 for name in names)
