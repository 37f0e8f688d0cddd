"""What the hub on loopback keeps: repositories with their commits, what was asked of it, and faults to come."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath


LFS_NAMES = (".safetensors", ".bin", ".png", ".parquet", ".tar")


@dataclass
class Fault:
    """What happens to the next `times` requests that match.

    Attributes:
        method, path: the request's method, and a regular expression searched for in its path.
        status, headers: answer with this instead of doing anything.
        delay: seconds to wait before the request is served.
        reset_after: cut the connection after so many bytes of the request's body.
        lose_answer: do what is asked, then cut the connection.
    """

    method: str
    path: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    reset_after: int | None = None
    lose_answer: bool = False


@dataclass
class Request:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    began: float
    status: int | None = None


@dataclass
class Commit:
    oid: str
    message: str
    files: dict[str, bytes]


@dataclass
class Repository:
    """A repository of any type.

    Attributes:
        accepted: names of the users who accepted its terms; None: it is not gated.
    """

    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    accepted: set[str] | None = None

    def commit(self, branch: str, message: str, files: dict[str, bytes], oid: str | None = None) -> Commit:
        content = json.dumps([branch, message, len(self.commits), sorted(map(digest, files.values()))])
        commit = Commit(oid or hashlib.sha1(content.encode()).hexdigest(), message, files)
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit

    def resolve(self, revision: str) -> Commit | None:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(oid)

    def made(self) -> list[str]:
        """Messages of the commits that clients made."""
        return [commit.message for commit in list(self.commits.values())[1:]]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_lfs(path: str) -> bool:
    return path.endswith(LFS_NAMES)


def file_entry(path: str, content: bytes) -> dict:
    """A file as the Hub's listings have it."""
    told = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
    if is_lfs(path):
        told["lfs"] = {"oid": digest(content), "size": len(content), "pointerSize": 134}
    return told


def folders(paths: Iterable[str]) -> set[str]:
    """Every folder that files of these paths lie in."""
    return {str(folder) for path in paths for folder in PurePosixPath(path).parents} - {"."}
