"""Git LFS's batch protocol, as far as a download needs it: ask a repository where its objects are.

``POST <repository>.git/info/lfs/objects/batch`` with the objects' hashes and sizes; the answer has an address for each, or an
error.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.fetching import http
from stages.fetching.http import Course, Known, Later, NoUse, Patience

KIND = "application/vnd.git-lfs+json"
MOST = 100  # objects in one request, as git-lfs asks
LONGEST_ANSWER = 4 << 20  # bytes; a hundred objects need some hundred kilobytes
FOR_GOOD = (404, 410, 422)  # an object's errors that will be the same tomorrow


@dataclass(frozen=True)
class Address:
    """The address of an object, and the headers of the request."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)


def addresses(
    repository: str, files: Sequence[Known], patience: Patience, course: Course | None = None
) -> list[Address | NoUse]:
    """The addresses of some of a repository's files, at most ``MOST``, in their order; or the reason for having none.

    Raises:
        NoUse: it has no such service; Later where it may answer at another time.
    """
    assert len(files) <= MOST
    url = f"{repository.rstrip('/').removesuffix('.git')}.git/info/lfs/objects/batch"
    objects = {file.sha256: {"oid": file.sha256, "size": file.size} for file in files}
    asked = {"operation": "download", "transfers": ["basic"], "hash_algo": "sha256", "objects": list(objects.values())}
    headers = {"Accept": KIND, "Content-Type": KIND}
    answer = http.post(url, json.dumps(asked).encode(), headers, patience, course, most=LONGEST_ANSWER)
    try:
        said = json.loads(answer)
        if said.get("transfer", "basic") != "basic":
            raise NoUse(f"offers the transfer {said['transfer']!r} alone, not basic")
        found = {entry["oid"]: _address(entry) for entry in said["objects"]}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Later("answers no batch of Git LFS") from None
    return [found.get(file.sha256, Later("the batch's answer lacks it")) for file in files]


def _address(entry: dict[str, Any]) -> Address | NoUse:
    if error := entry.get("error"):
        kind = NoUse if error["code"] in FOR_GOOD else Later
        words = " ".join(str(error.get("message", "")).split())[:200]
        return kind(f"LFS error {error['code']} {words}".rstrip())
    download = entry["actions"]["download"]
    return Address(str(download["href"]), {str(name): str(value) for name, value in download.get("header", {}).items()})
