#!/bin/sh
# Install the environment into an image, for both recipes beside this file: Debian's packages, then requirements.lock with its hashes.
# The project is no part of the image: a run takes that of the folder that it runs in.
set -eu
lock=$1

export DEBIAN_FRONTEND=noninteractive
apt-get update
# git is DVC's; the compiler and Python's headers are torch.compile's.
apt-get install --yes --no-install-recommends ca-certificates git g++ make python3-dev python3-venv
rm -rf /var/lib/apt/lists/*

python3 -m venv /opt/hifidiff
/opt/hifidiff/bin/python -m pip install --no-cache-dir --require-hashes --requirement "$lock"

git config --system --add safe.directory '*' # the folder may be another user's than the one of the container
mkdir -m 1777 /opt/home                      # of users whom the image does not know
