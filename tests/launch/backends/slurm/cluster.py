"""A real Slurm of one node for tests: its own folder, ports and key, so that several may run side by side.

    python tests/launch/backends/slurm/cluster.py      # prints what to export, runs until Ctrl-C, leaves
    nothing behind

Needs the programs of Debian's slurmctld, slurmd, slurm-client and munge. Nothing outside the folder is read
or written, and every port is one of 127.0.0.1. The cores are pretended: more than one job runs anywhere.
Jobs in partition `high` preempt those in `main` (the default), which get USR1 at once, TERM GRACE_SECONDS
later, and are requeued.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
SEARCH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"  # daemons are not in every user's path
GRACE_SECONDS = 15
START_SECONDS = 60.0


def missing() -> list[str]:
    """Programs that are not installed."""
    return [program for program in PROGRAMS if not shutil.which(program, path=SEARCH)]


@contextlib.contextmanager
def cluster(cpus: int = 4, max_array: int = 6) -> Iterator[dict[str, str]]:
    """Starts it, yields the environment that Slurm's commands need, and ends it with its jobs.

    Raises:
      RuntimeError: it does not come up; the daemons' last output is in the message.
    """
    folder = Path(tempfile.mkdtemp(prefix="isoflop-slurm-", dir="/tmp"))  # a socket's path must be short
    folder.chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH"))}
    environment |= {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": SEARCH}
    daemons: list[subprocess.Popen] = []
    try:
        configure(folder, cpus, max_array)
        daemons.append(_daemon(folder, environment, "munged", "--foreground", "--force", *_munge(folder)))
        _wait(folder, daemons, (folder / "munge.socket").exists)
        for name in ("slurmctld", "slurmd"):
            daemons.append(_daemon(folder, environment, name, "-D", "-f", str(folder / "slurm.conf")))
        _wait(folder, daemons, lambda: _call(environment, "sinfo", "-h", "-o", "%T") == "idle")
        yield environment
        for _ in range(2):  # those that the first wave's end has started
            _call(environment, "scancel", "--user", getpass.getuser())
            _until(lambda: not _call(environment, "squeue", "-h"), 20)
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def configure(folder: Path, cpus: int, max_array: int) -> None:
    """Writes slurm.conf, cgroup.conf and the key."""
    user, node = getpass.getuser(), socket.gethostname().partition(".")[0]
    controller_port, node_port = _free_ports(2)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20 * 9 // 10
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").touch(mode=0o600)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    (folder / "slurm.conf").write_text(f"""\
ClusterName=isoflop
SlurmctldHost={node}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A requeued job waits for its old credential to end: 120 s on clusters, 5 s here.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PreemptParameters=send_user_signal
JobRequeue=1
ReturnToService=2
KillWait=10
MinJobAge=300
MaxArraySize={max_array}
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=DEFAULT Nodes={node} MaxTime=INFINITE DefaultTime=60 State=UP
PartitionName=main Default=YES PriorityTier=1 GraceTime={GRACE_SECONDS}
PartitionName=high PriorityTier=10 PreemptMode=OFF
""")


def _munge(folder: Path) -> list[str]:
    places = {
        "socket": "socket",
        "key-file": "key",
        "pid-file": "pid",
        "log-file": "log",
        "seed-file": "seed",
    }
    return [f"--{option}={folder}/munge.{name}" for option, name in places.items()]


def _free_ports(n: int) -> list[int]:
    """Ports that nobody uses now; all are held until all are found, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _daemon(folder: Path, environment: dict[str, str], *command: str) -> subprocess.Popen:
    """A daemon in the foreground, which ends with us, even when we are killed."""
    with open(folder / f"{command[0]}.log", "wb") as log:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait(folder: Path, daemons: list[subprocess.Popen], ready) -> None:
    if not _until(lambda: any(daemon.poll() is not None for daemon in daemons) or ready(), START_SECONDS):
        raise RuntimeError(f"Slurm did not come up in {START_SECONDS:.0f} s\n{_last_output(folder)}")
    if any(daemon.poll() is not None for daemon in daemons):
        raise RuntimeError(f"a daemon of Slurm has ended\n{_last_output(folder)}")


def _until(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _call(environment: dict[str, str], *command: str) -> str:
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    return ran.stdout.strip() if ran.returncode == 0 else ran.stderr.strip()


def _last_output(folder: Path) -> str:
    return "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in sorted(folder.glob("*.log")))


def main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cluster(cpus=8, max_array=1001) as environment, contextlib.suppress(KeyboardInterrupt):
        print(f"export SLURM_CONF={environment['SLURM_CONF']}", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
