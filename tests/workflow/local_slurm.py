"""A Slurm of one node or more in a folder of its own, for tests: two partitions, two GPUs a node that are none, no accounting.

Several nodes are several daemons of this machine, which has as many times the CPUs that it has (``config_overrides``).

It needs Debian's packages ``slurm-wlm`` and ``munge``, and to be root, as Slurm's daemons do. Ports are free ones, and everything
that was started is stopped at the end.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

IN_JOBS = ("srun", "squeue", "scontrol", "sinfo")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", *IN_JOBS)
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_min_interval=100000
KillWait=30
GresTypes=gpu
SlurmdParameters=config_overrides
PartitionName=cpu Nodes=ALL Default=YES State=UP
PartitionName=gpu Nodes=ALL State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=200000 Gres=gpu:2 State=UNKNOWN\n"


def missing() -> list[str]:
    """What this machine lacks for it."""
    path = os.environ["PATH"] + os.pathsep + "/usr/sbin"
    lacks = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    return lacks + (["root's rights"] if os.geteuid() else [])


@contextmanager
def started(root: Path, nodes: int = 1, limit_s: float = 60) -> Iterator[dict[str, str]]:
    """Start it below a folder; gives the environment variables that its commands need."""
    host = socket.gethostname()
    names = [f"node{number}" for number in range(nodes)]
    for name in ("state", "spool"):
        (root / name).mkdir(parents=True)
    key = root / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    first, *others = _free_ports(1 + nodes)
    text = CONFIGURATION.format(host=host, root=root, port=first)
    text += "".join(NODE.format(name=name, host=host, port=port) for name, port in zip(names, others, strict=True))
    (root / "slurm.conf").write_text(text, encoding="utf-8")
    devices = "".join(
        f"NodeName={name} Name=gpu File={file}\n" for name in names for file in ("/dev/null", "/dev/zero")
    )
    (root / "gres.conf").write_text(devices, encoding="utf-8")
    path = os.environ["PATH"] + os.pathsep + "/usr/sbin"
    variables = {"SLURM_CONF": str(root / "slurm.conf"), "PATH": f"{root / 'bin'}{os.pathsep}{path}"}
    for command in IN_JOBS:
        _with_configuration(root, command, path)
    files = {name: f"{root}/munge.{name}" for name in ("socket", "pid", "log", "seed")}
    munge = ["--key-file", str(key), "--socket", files["socket"], "--pid-file", files["pid"]]
    munge += ["--log-file", files["log"], "--seed-file", files["seed"]]
    with ExitStack() as stack:
        _start(stack, root, variables, ["munged", "--foreground", "--force", *munge])
        _until(lambda: Path(files["socket"]).exists(), limit_s, "munged has no socket")
        _start(stack, root, variables, ["slurmctld", "-D", "-i"])
        for name in names:
            (root / "spool" / name).mkdir()
            _start(stack, root, variables, ["slurmd", "-D", "-N", name])
        _until(lambda: _idle(variables) == nodes, limit_s, "the nodes are not idle")
        yield variables


def _with_configuration(root: Path, command: str, path: str) -> None:
    """A command for jobs, in which Snakemake's plugin leaves no variable of Slurm."""
    script = root / "bin" / command
    script.parent.mkdir(exist_ok=True)
    own = shutil.which(command, path=path)
    script.write_text(f'#!/bin/sh\nSLURM_CONF={root}/slurm.conf exec {own} "$@"\n', encoding="utf-8")
    script.chmod(0o755)


def _idle(variables: dict[str, str]) -> int:
    states = said(variables, "sinfo", "--noheader", "--Node", "--partition", "cpu", "--format", "%T").split()
    return states.count("idle")


def said(variables: dict[str, str], *command: str) -> str:
    """What a command of Slurm printed; nothing where it failed, as before the daemons answer."""
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def _start(stack: ExitStack, root: Path, variables: dict[str, str], command: Sequence[str]) -> None:
    log = stack.enter_context((root / f"{command[0]}.out").open("ab"))
    process = subprocess.Popen(command, env=os.environ | variables, stdout=log, stderr=log)
    stack.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _until(true: Callable[[], bool], limit_s: float, otherwise: str) -> None:
    end = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
