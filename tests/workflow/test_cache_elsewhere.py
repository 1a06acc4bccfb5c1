"""DVC's cache on another file system: a run records there, and goes on after that was full."""

from __future__ import annotations

import os
import subprocess

import pytest
from conftest import Project

pytestmark = pytest.mark.workflow

APART = ("unshare", "--map-root-user", "--mount", "--")  # with mounts that only this command sees
SCRIPT = """
set -eu
mkdir elsewhere
mount -t tmpfs -o size=2m tmpfs elsewhere
dvc config --local cache.dir "$PWD/elsewhere/cache"
rm logs/dvc_recorded
if snakemake --cores 2; then exit 9; fi
test ! -e logs/dvc_recorded
mount -o remount,size=500m elsewhere
echo "== room"
snakemake --cores 2
test -n "$(dvc status | grep 'up to date')"
rm data/smoke/index.parquet
dvc checkout
python -m workflow.dvcsync
snakemake --dry-run
"""


def test_a_full_cache_on_another_file_system(smoke: Project) -> None:
    if subprocess.run([*APART, "true"], capture_output=True).returncode:
        pytest.skip("this system gives no user namespaces, in which to mount a small file system")
    made = smoke.read("data/smoke/index.parquet")
    full, room = smoke.run(*APART, "bash", "-c", SCRIPT).split("== room")
    assert f"No space left on device: '{smoke.root}/data/smoke/" in full
    assert f"-> '{smoke.root}/elsewhere/cache/" in full
    assert "Traceback" not in full
    assert "Nothing to be done" in room
    assert smoke.read("data/smoke/index.parquet") == made
    assert not [name for name in os.listdir(smoke.root / "data/smoke") if name.endswith((".part", ".tmp"))]
