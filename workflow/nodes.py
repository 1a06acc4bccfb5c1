"""Start one training on all nodes of a job of Slurm: ``srun`` starts a ``torchrun`` on each, and they meet at the first.

    python -m workflow.nodes --nodes 2 --processes 4 --threads 8 stages.train --data data/paper --method full --out …

The rule of a training calls it where ``train.nodes`` is above 1. Gradients go over the network that Slurm reaches the first node
by; NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME names another.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from stages.base.errors import ParameterError, run

PORTS = range(20000, 30000)  # below those that systems give out by themselves; a job has one, by its number


def hosts(environment: Mapping[str, str]) -> list[str]:
    """The nodes of the job of Slurm that this process runs in, in order; none outside one.

    Slurm is asked for them: Snakemake's plugin takes all variables but the job's number away.
    """
    job = environment.get("SLURM_JOB_ID")
    if job is None:
        return []
    return _said(
        "scontrol", "show", "hostnames", _said("squeue", "--noheader", "--jobs", job, "--format", "%N")
    ).split()


def check(nodes: int, found: Sequence[str]) -> None:
    """Refuse ``train.nodes`` where this process can't start so many.

    Raises:
        ParameterError: it runs in no job of Slurm, or in one of fewer nodes.
    """
    if len(found) < nodes:
        where = f"a job of Slurm with {len(found)}" if found else "no job of Slurm"
        raise ParameterError(
            f"train.nodes is {nodes}, and this is {where}; run 'snakemake --workflow-profile profiles/slurm', set train.nodes "
            "to 1, or start torchrun on each machine by hand (docs/workflow.md)"
        )


def command(
    nodes: int, processes: int, threads: int, module: Sequence[str], *, found: Sequence[str], job: str, address: str
) -> list[str]:
    """The ``srun`` of a training: ``module`` is the stage's with its arguments, ``address`` that of the first of ``found``.

    Raises:
        ParameterError: see :func:`check`.
    """
    check(nodes, found)
    port = PORTS[int(job) % len(PORTS)]
    # Of a task that fails the others would wait for ever. Without a number of CPUs a task would have one.
    srun = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", f"--cpus-per-task={threads}"]
    srun += ["--kill-on-bad-exit=1"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={nodes}", f"--nproc-per-node={processes}"]
    torchrun += [f"--rdzv-id={job}", "--rdzv-backend=c10d", f"--rdzv-endpoint={address}:{port}"]
    return [*srun, *torchrun, "-m", *module]


def _said(*words: str) -> str:
    try:
        return subprocess.run(words, check=True, capture_output=True, encoding="utf-8").stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        problem = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[0]
        raise ParameterError(f"train.nodes is above 1, and '{' '.join(words)}' failed: {problem}") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, required=True, help="train.nodes")
    parser.add_argument("--processes", type=int, required=True, help="of each node")
    parser.add_argument("--threads", type=int, required=True, help="of each node")
    parser.add_argument("module", nargs=argparse.REMAINDER, help="the stage's module and its arguments")
    args = parser.parse_args()
    found = hosts(os.environ)
    check(args.nodes, found)
    address = _said("sinfo", "--noheader", "--Node", "--nodes", found[0], "--format", "%o").split()[0]
    job = os.environ["SLURM_JOB_ID"]
    words = command(args.nodes, args.processes, args.threads, args.module, found=found, job=job, address=address)
    os.execvp(words[0], words)


if __name__ == "__main__":
    run(main)
