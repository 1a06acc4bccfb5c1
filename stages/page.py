"""Serve a page on this machine: choose a face and a sound there, and see the portrait talk.

    python -m stages.page data/demo/models/full

Prints the page's address, and opens it where there is a desktop. It is served at 127.0.0.1 alone. All files from a browser lie
in a folder of their own below $TMPDIR, which is removed when the command ends: by Ctrl+C, SIGTERM, or its terminal's end.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

import torch
import uvicorn

from stages.base import devices, memory
from stages.base.errors import ParameterError, run
from stages.serving import files, site
from stages.serving.line import Line
from stages.serving.maker import Maker
from stages.talking.options import Options

ENDS = ("SIGTERM", "SIGHUP")
WAIT_S = 3.0  # for the video that is being made, at the end


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("model", type=Path, metavar="MODEL", help="folder with model.safetensors and config.json")
    made.add_argument("--port", type=int, default=0, help="of 127.0.0.1; 0: any that is free")
    made.add_argument("--most", type=float, default=files.MOST / 2**20, metavar="MB", help="of a file that is sent")
    made.add_argument("--no-open", dest="open", action="store_false", help="open no browser")
    made.add_argument("--device", default=Options.device, help="auto, cpu, or an accelerator such as cuda or mps")
    made.add_argument("--threads", type=int, default=1)
    return made


def listening(port: int) -> socket.socket:
    """A socket of this machine alone.

    Raises:
        ParameterError: the port is taken, or is none.
    """
    try:
        return socket.create_server(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        raise ParameterError(f"--port is {port}: {error}; leave it out, and any free one is taken") from None


def flags(args: argparse.Namespace) -> list[str]:
    """Those that the page was given and that ``stages.talk`` takes, too."""
    return [
        word
        for name in ("device", "threads")
        if (value := getattr(args, name)) != parser().get_default(name)
        for word in (f"--{name}", str(value))
    ]


def main() -> None:
    args = parser().parse_args()
    for name in ENDS:  # as Ctrl+C, so that the folder is removed
        signal.signal(getattr(signal, name), signal.default_int_handler)
    torch.set_num_threads(args.threads)
    memory.keep_freed()
    devices.choose(args.device, "--device")
    maker = Maker(args.model)
    with listening(args.port) as door, tempfile.TemporaryDirectory(prefix="hifidiff-page-") as name:
        tempfile.tempdir = name  # what libraries put aside goes with it
        sent, jobs = Path(name) / "sent", Path(name) / "jobs"
        sent.mkdir()
        jobs.mkdir()
        line = Line(jobs, maker, maker.warm)
        token = secrets.token_urlsafe(16)
        pages = site.app(
            token,
            files.Files(sent, round(args.most * 2**20)),
            line,
            args.model,
            Options(device=args.device),
            flags(args),
        )
        address = f"http://127.0.0.1:{door.getsockname()[1]}/{token}/"
        print(f"{address}\non this machine only; Ctrl+C ends it and removes all that was sent to it", flush=True)
        if args.open and (sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(address)
        try:
            uvicorn.Server(configuration(pages)).run(sockets=[door])
        except KeyboardInterrupt:  # the server raises it anew once it has ended
            print("ended; all that was sent is removed")
        finally:
            ended = line.close(WAIT_S)
    if not ended:  # a batch is being computed, and Python's own end would abort in the midst of it
        sys.stdout.flush()
        os._exit(0)


def configuration(pages: Any) -> uvicorn.Config:
    """The server's settings: quiet, without web sockets, ended within a second."""
    return uvicorn.Config(
        pages,
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    run(main)
