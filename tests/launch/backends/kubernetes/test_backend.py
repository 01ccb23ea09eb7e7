"""The official client against an API server of our own, which knows JobSets and pods and keeps requests."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from launch.backends.interface import Submission
from launch.backends.kubernetes import backend as kubernetes
from launch.store import PlannedRun, Store
from tests.tiny_run import isoflop

LAUNCH = Path(__file__).parents[2]

JOBSETS = "/apis/jobset.x-k8s.io/v1alpha2/namespaces/default/jobsets"
PODS = "/api/v1/namespaces/default/pods"


class Api:
    """State of the server: JobSets by name, the list of pods, how often a deleted JobSet is still seen, and a
    refusal (status, message) of new ones."""

    def __init__(self):
        self.jobsets, self.pods, self.requests, self.refusal = {}, [], [], None
        self.lingers = 0

    def answer(self, method: str, path: str, body: dict) -> tuple[int, dict]:
        self.requests.append(f"{method} {path}")
        name = path.removeprefix(JOBSETS).strip("/")
        if path == PODS:
            return 200, {"kind": "PodList", "apiVersion": "v1", "items": self.pods}
        if method == "POST" and self.refusal:
            return self.refusal[0], {"kind": "Status", "message": self.refusal[1]}
        if method == "POST":
            self.jobsets[body["metadata"]["name"]] = body
            return 201, body
        found = self.jobsets.get(name)
        if found and "deletionTimestamp" in found["metadata"]:
            self.lingers -= 1
            if self.lingers < 0:
                del self.jobsets[name]
                found = None
        if found is None:
            return 404, {"kind": "Status", "message": f'jobsets "{name}" not found'}
        if method == "DELETE":
            found["metadata"]["deletionTimestamp"] = "now"
        return 200, found


@pytest.fixture
def api(tmp_path, monkeypatch):
    state = Api()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or "{}") if length else {}
            code, answer = state.answer(self.command, self.path.split("?")[0], body)
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    configure(tmp_path, monkeypatch, server.server_port)
    monkeypatch.setattr(kubernetes, "POLL_SECONDS", 0.01)
    yield state
    server.shutdown()
    server.server_close()


def configure(folder: Path, monkeypatch, port: int) -> None:
    """A kubeconfig for a cluster at this port."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(folder / "kubeconfig")
    )


def request_in(folder: Path, **changes) -> Submission:
    store = Store(folder / "study")
    store.create()
    table = {"image": "registry.example/isoflop:1", "claim": "studies", "mount": str(folder), "workers": 8}
    runs = [PlannedRun(f"r{i}", "grid", "s", 1, 1, 1.0, {}) for i in range(5)]
    asked = {"n_workers": None, "more_stages": True, "dry_run": False} | changes
    return Submission(store=store, unfinished=runs, pack="auto", site={"kubernetes": table}, **asked)


def workers(manifest: dict) -> int:
    return manifest["spec"]["replicatedJobs"][1]["template"]["spec"]["parallelism"]


def test_submitting_creates_once(api, tmp_path):
    submission = request_in(tmp_path)
    assert "created: 8 workers" in kubernetes.submit(submission)
    (name,) = api.jobsets
    assert api.jobsets[name] == yaml.safe_load(kubernetes.submit(request_in(tmp_path, dry_run=True)))
    assert "nothing changed" in kubernetes.submit(submission)
    assert [line.split()[0] for line in api.requests] == ["GET", "POST", "GET"]
    (job,) = submission.store.jobs()
    assert (job["backend"], job["id"], job["namespace"], job["slots"]) == ("kubernetes", name, "default", 8)


def test_other_settings_and_ended_jobsets_are_replaced_when_the_old_one_has_gone(api, tmp_path):
    kubernetes.submit(request_in(tmp_path))
    api.lingers = 3
    assert "replaced: 2 workers" in kubernetes.submit(request_in(tmp_path, n_workers=2))
    (made,) = api.jobsets.values()
    assert workers(made) == 2 and "deletionTimestamp" not in made["metadata"]
    made["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    assert "replaced" in kubernetes.submit(request_in(tmp_path, n_workers=2))
    made = next(iter(api.jobsets.values()))
    made["status"] = {"conditions": [{"type": "Completed", "status": "False"}]}
    assert "nothing changed" in kubernetes.submit(request_in(tmp_path, n_workers=2))


def test_no_more_workers_than_runs_where_these_are_the_last(api, tmp_path):
    manifest = yaml.safe_load(kubernetes.submit(request_in(tmp_path, more_stages=False, dry_run=True)))
    assert workers(manifest) == 5
    assert api.requests == [] and request_in(tmp_path).store.jobs() == [], "a dry run touches nothing"


def test_cancel_deletes_and_may_be_repeated(api, tmp_path):
    submission = request_in(tmp_path)
    kubernetes.submit(submission)
    kubernetes.submit(request_in(tmp_path, n_workers=2))
    jobs = submission.store.jobs()
    assert len(jobs) == 2, "the same JobSet, made twice"
    assert kubernetes.cancel(jobs).startswith("deleted JobSet default/isoflop-study-")
    assert "no JobSet" in kubernetes.cancel(jobs)
    assert not api.jobsets


def pod(name: str, role: str, phase: str, **status) -> dict:
    labels = {kubernetes.ROLE: role, kubernetes.JOBSET: "one"}
    return {"metadata": {"name": name, "labels": labels}, "status": {"phase": phase, **status}}


def container(state: dict) -> list[dict]:
    return [
        {"name": "isoflop", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    ]


def test_states_say_why_pods_do_not_run_in_one_call(api):
    killed = container({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
    absent = container({"waiting": {"reason": "ImagePullBackOff", "message": "no such\nimage"}})
    creating = container({"waiting": {"reason": "ContainerCreating"}})
    full = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    api.pods = [
        pod("one-driver-0-0", "driver", "Running"),
        pod("one-workers-0-0", "workers", "Failed", containerStatuses=killed),
        pod("one-workers-0-1", "workers", "Pending", containerStatuses=absent),
        pod("one-workers-0-2", "workers", "Pending", conditions=[full]),
        pod("one-workers-0-3", "workers", "Failed", reason="Evicted", message="The node was low on memory"),
        pod("one-workers-0-4", "workers", "Pending", containerStatuses=creating),
    ]
    job = {"backend": "kubernetes", "id": "one", "namespace": "default"}
    assert kubernetes.states([job, job]) == [
        "default/one: 1 driver running, 2 workers failed, 3 workers pending",
        "one-workers-0-0: exit code 137 (OOMKilled)",
        "one-workers-0-1: ImagePullBackOff: no such image",
        "one-workers-0-2: Unschedulable: 0/3 nodes",
        "one-workers-0-3: Evicted: The node was low on memory",
    ]
    assert api.requests == [f"GET {PODS}"]
    api.pods = []
    assert kubernetes.states([job]) == ["default/one: no pods: queued, or ended"]


def test_refusals_come_in_the_clusters_own_words(api, tmp_path):
    api.refusal = (422, 'jobsets "x" is invalid: spec.replicatedJobs: too long')
    with pytest.raises(ValueError, match=r"is invalid: spec\.replicatedJobs: too long"):
        kubernetes.submit(request_in(tmp_path))
    api.refusal = (404, "404 page not found")
    with pytest.raises(ValueError, match="knows no JobSets"):
        kubernetes.submit(request_in(tmp_path))
    assert request_in(tmp_path).store.jobs() == []


def test_no_cluster_no_configuration_no_client(tmp_path, monkeypatch):
    configure(tmp_path, monkeypatch, port=1)
    with pytest.raises(ValueError, match="does not answer"):
        kubernetes.submit(request_in(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="Set KUBECONFIG"):
        kubernetes.submit(request_in(tmp_path))

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(kubernetes, "importlib", SimpleNamespace(import_module=absent))
    with pytest.raises(ValueError, match=r"pip install .*\[kubernetes\]"):
        kubernetes.submit(request_in(tmp_path))


@pytest.mark.slow
def test_the_commands_of_the_pods_bring_a_study_to_its_end(tmp_path):
    """What the manifest would have a driver and two workers run, as processes; training is faked."""
    folder = tmp_path / "study"
    assert isoflop("plan", str(LAUNCH / "fake_study.py"), "--out", str(folder)) == 0
    site = tmp_path / "site.toml"
    site.write_text(f'[kubernetes]\nimage = "x"\nclaim = "x"\nmount = "{tmp_path}"\nworkers = 2\n')
    command = [sys.executable, "-m", "launch.cli", "submit", str(folder), "--on", "kubernetes"]
    command += ["--code", str(LAUNCH / "fake_study.py")]
    shown = subprocess.run([*command, "--site", site, "--dry-run"], check=True, capture_output=True)
    scripts = {
        part["name"]: part["template"]["spec"]["template"]["spec"]["containers"][0]["command"]
        for part in yaml.safe_load(shown.stdout)["spec"]["replicatedJobs"]
    }
    scripts["workers"][-1] = scripts["workers"][-1].replace(
        "-m launch.workers.worker", str(LAUNCH / "fake_worker.py")
    )
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    pods = [
        subprocess.Popen(scripts[name], env=environment, stdin=subprocess.DEVNULL)
        for name in ("driver", "workers", "workers")
    ]
    try:
        assert [pod.wait(120) for pod in pods] == [0, 0, 0]
    finally:
        for each in pods:
            each.kill()
    store = Store(folder)
    assert store.finished.exists() and len(store.results()) == 8
