"""A hub on loopback that speaks the Hub's HTTP protocol, as far as publishing models and Spaces and loading goes.

Repositories with commits, branches and tags, LFS storage, tokens, private and gated repositories and collections, all
in memory; every request is recorded, and faults can be ordered.
"""

import base64
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from support.hub_store import Commit, Fault, Repository, Request, digest, file_entry, folders, git_oid, is_lfs


class HubServer:
    """The hub: `url` is its endpoint; use it as a context manager.

    Args:
        tokens: by token the user, as `whoami` tells it; `writes` names the namespaces that the user may write to.
    """

    def __init__(self, tokens: dict[str, dict]):
        self.tokens = tokens
        self.repositories: dict[str, Repository] = {}
        self.collections: dict[str, dict] = {}
        self.lfs: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.serving = 0
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        # Another host, as on the Hub: clients read headers before they follow there, and leave the token behind.
        self.storage = f"http://localhost:{self.http.server_port}/lfs-storage"

    def __enter__(self):
        # Leaving it waits for the next poll.
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def make_repository(self, repo_id: str, private: bool = False) -> Repository:
        repository = Repository(private)
        repository.commit("main", "initial commit", {".gitattributes": b"*.safetensors filter=lfs\n"})
        self.repositories[repo_id] = repository
        return repository

    def publish(self, repo_id: str, files: dict[str, bytes], gated: bool = False, revision: str = "main") -> Commit:
        """Add files to a repository, which is made if there is none: whoever holds it did so, without a request.

        Args:
            repo_id: of a dataset with `datasets/` in front of it.
            files: by path.
            gated: whether its terms must be accepted, which nobody did yet.
            revision: another branch than the main one (`refs/pr/1`), or a commit's id, which it then has.
        """
        if repo_id not in self.repositories:
            self.make_repository(repo_id)
        repository = self.repositories[repo_id]
        repository.accepted = set() if gated else repository.accepted
        self.lfs |= {digest(content): content for path, content in files.items() if is_lfs(path)}
        oid = revision if re.fullmatch("[0-9a-f]{40}", revision) else None
        branch = "main" if oid else revision
        return repository.commit(branch, "add files", self.files(repo_id) | files, oid)

    def settle(self, seconds: float = 20.0) -> None:
        """Return when no request is being served, also none whose client has given up."""
        end = time.monotonic() + seconds
        while self.serving:
            assert time.monotonic() < end, "a request is still being served"
            time.sleep(0.02)

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        return self.repositories[repo_id].resolve(revision).files

    def seen(self, method: str, path: str) -> list[Request]:
        return [r for r in self.requests if r.method == method and re.search(path, r.path)]


class Answer(Exception):
    """Ends the handling of a request."""

    def __init__(self, status: int, body: bytes | dict | list = b"", **headers: str):
        self.status = status
        self.body = body
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def not_found(code: str) -> Answer:
    return Answer(404, {"error": code}, X_Error_Code=code)


ROUTES = []


def route(method: str, pattern: str):
    """Serve requests whose path matches: groups of the pattern become arguments."""

    def register(function):
        ROUTES.append((method, re.compile(pattern + r"\Z"), function))
        return function

    return register


# Spaces and datasets are kept under `spaces/org/name` and `datasets/org/name`, which is how their addresses are.
TYPES = {"model": "", "space": "spaces/", "dataset": "datasets/"}
REPO = r"(?P<repo>(?:(?:spaces|datasets)/)?[^/]+/[^/]+)"
API = rf"/api/(?:models/|(?=(?:spaces|datasets)/)){REPO}"
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")


def bare(repo: str) -> str:
    """Its id, which says nothing of its type."""
    return repo.removeprefix("spaces/").removeprefix("datasets/")


def owner(repo: str) -> str:
    return bare(repo).partition("/")[0]


def faults_of_space(data: dict) -> list[str]:
    """What the Hub would not take in a Space's card."""
    wrong = [name for name in ("sdk", "sdk_version", "app_file") if not data.get(name)]
    wrong += [name for name in ("colorFrom", "colorTo") if data.get(name, "red") not in COLOURS]
    return wrong + (["short_description"] if len(data.get("short_description", "")) > 60 else [])


class Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"
    # A body that follows its headers would wait for their acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def handle_any(self):
        with self.hub.lock:
            self.hub.serving += 1
        try:
            self.serve()
        finally:
            with self.hub.lock:
                self.hub.serving -= 1

    def serve(self):
        fault = self.pick_fault()
        if fault and fault.delay:
            time.sleep(fault.delay)
        body = self.read_body(fault.reset_after if fault else None)
        url = urlsplit(self.path)
        request = Request(self.command, self.path, dict(self.headers), body or b"", time.monotonic())
        self.hub.requests.append(request)
        if body is None:
            return self.cut()
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.body = body
        try:
            if fault and fault.status:
                raise Answer(fault.status, {"error": f"ordered fault {fault.status}"}, **fault.headers)
            path = url.path
            for method, pattern, function in ROUTES:
                match = pattern.match(path) if method == self.command.replace("HEAD", "GET") else None
                if match:
                    with self.hub.lock:
                        function(self, **{name: unquote(part) for name, part in match.groupdict().items() if part})
            # Names without a namespace are repositories too, none of which is here.
            raise not_found("RepoNotFound") if "/resolve/" in path else Answer(404, {"error": f"no route to {path}"})
        except Answer as answer:
            request.status = answer.status
            if fault and fault.lose_answer:
                return self.cut()
            self.send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any

    def pick_fault(self) -> Fault | None:
        with self.hub.lock:
            for fault in self.hub.faults:
                if fault.times > 0 and fault.method == self.command and re.search(fault.path, self.path):
                    fault.times -= 1
                    return fault
        return None

    def read_body(self, reset_after: int | None) -> bytes | None:
        if reset_after is not None:
            self.rfile.read(reset_after)
            return None
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def cut(self):
        self.close_connection = True
        self.connection.close()

    def send(self, answer: Answer):
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        headers = {"Content-Length": str(len(body))} | answer.headers
        if not isinstance(answer.body, bytes):
            headers["Content-Type"] = "application/json"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # Who asks, and for what

    @property
    def user(self) -> dict | None:
        """The user of the token; 401 for a token that nobody has."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise Answer(401, {"error": "Invalid credentials in Authorization header"})
        return self.hub.tokens.get(token)

    def may_write(self, namespace: str) -> None:
        if self.user is None:
            raise Answer(401, {"error": "Unauthorized"})
        if namespace not in self.user["writes"]:
            raise Answer(403, {"error": f"You don't have the rights to write to the namespace {namespace}"})

    def repository(self, repo: str, write: bool = False) -> Repository:
        found = self.hub.repositories.get(repo)
        hidden = found is not None and found.private and owner(repo) not in (self.user or {}).get("writes", ())
        if found is None or hidden:
            code = 404 if self.user else 401
            raise Answer(code, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        if write:
            self.may_write(owner(repo))
        return found

    def commit_of(self, repo: str, revision: str) -> Commit:
        commit = self.repository(repo).resolve(revision)
        if commit is None:
            raise not_found("RevisionNotFound")
        return commit

    def may_read_files(self, repo: str) -> None:
        """Of a gated repository everybody sees that it is there, but whoever accepted its terms alone its files."""
        accepted = self.repository(repo).accepted
        if accepted is not None and (self.user or {}).get("name") not in accepted:
            code, message = (403, "you are not in the authorized list") if self.user else (401, "you must be logged in")
            raise Answer(code, {"error": f"Access to {repo} is restricted, {message}"}, X_Error_Code="GatedRepo")

    @property
    def json(self):
        return json.loads(self.body)

    # Users and repositories

    @route("GET", "/api/whoami-v2")
    def whoami(self):
        if self.user is None:
            raise Answer(401, {"error": "Unauthorized"})
        role = {"accessToken": {"displayName": "test", "role": self.user.get("role", "write")}}
        orgs = [{"name": name} for name in self.user["writes"] if name != self.user["name"]]
        raise Answer(200, {"type": "user", "name": self.user["name"], "orgs": orgs, "auth": role})

    @route("POST", "/api/repos/create")
    def create(self):
        namespace = self.json.get("organization") or (self.user or {}).get("name")
        self.may_write(namespace)
        kind = self.json.get("type") or "model"
        if kind == "space" and self.json.get("sdk") not in ("gradio", "docker", "static"):
            raise Answer(400, {"error": "a Space needs an SDK"})
        repo_id = f"{TYPES[kind]}{namespace}/{self.json['name']}"
        answer = {"url": f"{self.hub.url}/{repo_id}", "name": repo_id, "id": repo_id}
        if repo_id in self.hub.repositories:
            raise Answer(409, answer | {"error": "You already created this repo"})
        private = self.json.get("visibility") == "private" or bool(self.json.get("private"))
        self.hub.make_repository(repo_id, private)
        raise Answer(200, answer)

    @route("GET", f"{API}/auth-check(?P<write>/write)?")
    def auth_check(self, repo, write=None):
        self.repository(repo, write=bool(write))
        raise Answer(200, {})

    @route("GET", f"{API}/refs")
    def refs(self, repo):
        repository = self.repository(repo)
        kinds = {"branches": ("heads", repository.branches), "tags": ("tags", repository.tags)}
        answer = {
            kind: [{"name": n, "ref": f"refs/{folder}/{n}", "targetCommit": oid} for n, oid in refs.items()]
            for kind, (folder, refs) in kinds.items()
        }
        raise Answer(200, answer | {"converts": []})

    @route("POST", f"{API}/branch/(?P<branch>[^/]+)")
    def branch(self, repo, branch):
        repository = self.repository(repo, write=True)
        if branch in repository.branches:
            raise Answer(409, {"error": "Reference already exists"})
        repository.branches[branch] = repository.branches["main"]
        raise Answer(200, {})

    @route("POST", f"{API}/tag/(?P<revision>[^/]+)")
    def tag(self, repo, revision):
        repository = self.repository(repo, write=True)
        if self.json["tag"] in repository.tags:
            raise Answer(409, {"error": "Tag reference exists already"})
        repository.tags[self.json["tag"]] = self.commit_of(repo, revision).oid
        raise Answer(200, {})

    # Collections

    @route("POST", "/api/collections")
    def create_collection(self):
        self.may_write(self.json["namespace"])
        slug = f"{self.json['namespace']}/{self.json['title'].lower().replace(' ', '-')}-{'0' * 24}"
        if slug in self.hub.collections:
            raise Answer(409, {"error": "Collection exists", "slug": slug})
        self.hub.collections[slug] = {
            **{"slug": slug, "title": self.json["title"], "owner": {"name": self.json["namespace"]}, "items": []},
            **{"lastUpdated": "2026-01-01T00:00:00.000Z", "private": self.json["private"], "theme": "blue"},
            **{"position": 0, "upvotes": 0},
        }
        raise Answer(200, self.hub.collections[slug])

    @route("GET", "/api/collections/(?P<slug>.+)")
    def get_collection(self, slug):
        if slug not in self.hub.collections:
            raise Answer(404, {"error": "Not found"})
        raise Answer(200, self.hub.collections[slug])

    @route("POST", "/api/collections/(?P<slug>.+)/items")
    def add_item(self, slug):
        collection, item = self.hub.collections[slug], self.json["item"]
        self.may_write(collection["owner"]["name"])
        if any(other["id"] == item["id"] for other in collection["items"]):
            raise Answer(409, {"error": "Item already in the collection"})
        identity = {
            "_id": str(len(collection["items"])),
            "position": len(collection["items"]),
            "repoType": item["type"],
        }
        collection["items"].append({"id": item["id"], "type": item["type"], **identity})
        raise Answer(200, collection)

    # Writing

    @route("POST", "/api/validate-yaml")
    def validate_yaml(self):
        head = re.match(r"---\n(.*?)\n---\n", self.json["content"], re.DOTALL)
        data = yaml.safe_load(head.group(1)) if head else None
        errors = [] if head else [{"message": "no metadata"}]
        if head and data.get("license", "mit") not in ("mit", "apache-2.0", "cc0-1.0", "other"):
            errors.append({"message": f'"license" must be one of [mit, apache-2.0, ...], got {data["license"]}'})
        if head and not re.fullmatch(r"[a-z]{2,3}", data.get("language", "en")):
            errors.append({"message": '"language" must only contain lowercase characters, an ISO 639 code'})
        if head and self.json.get("repoType") == "space":
            errors += [{"message": f'"{name}" is missing or wrong'} for name in faults_of_space(data)]
        raise Answer(400 if errors else 200, {"errors": errors, "warnings": []})

    @route("POST", f"{API}/preupload/(?P<revision>[^/]+)")
    def preupload(self, repo, revision):
        self.repository(repo, write=True)
        present = self.commit_of(repo, revision).files
        answer = []
        for file in self.json["files"]:
            content, lfs = present.get(file["path"]), is_lfs(file["path"])
            oid = None if content is None else digest(content) if lfs else git_oid(content)
            mode = "lfs" if lfs else "regular"
            answer.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        raise Answer(200, {"files": answer})

    @route("POST", f"/{REPO}.git/info/lfs/objects/batch")
    def lfs_batch(self, repo):
        self.repository(repo, write=True)
        objects = []
        for entry in self.json["objects"]:
            if entry["oid"] not in self.hub.lfs:
                upload = {"href": f"{self.hub.storage}/{entry['oid']}?X-Amz-Signature=signed"}
                entry = entry | {"actions": {"upload": upload}}
            objects.append(entry)
        raise Answer(200, {"transfer": "basic", "objects": objects})

    @route("PUT", "/lfs-storage/(?P<oid>[0-9a-f]+)")
    def lfs_put(self, oid):
        if digest(self.body) != oid:
            raise Answer(400, {"error": "content does not match its hash"})
        self.hub.lfs[oid] = self.body
        raise Answer(200)

    @route("POST", f"{API}/commit/(?P<revision>[^/]+)")
    def make_commit(self, repo, revision):
        repository = self.repository(repo, write=True)
        if revision not in repository.branches:
            raise not_found("RevisionNotFound")
        files, message = dict(repository.resolve(revision).files), ""
        for line in self.body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
                if value.get("parentCommit", repository.branches[revision]) != repository.branches[revision]:
                    raise Answer(412, {"error": "A commit has happened since. Please refresh and try again."})
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                if value["oid"] not in self.hub.lfs:
                    raise Answer(400, {"error": f"LFS object of {value['path']} was not uploaded"})
                files[value["path"]] = self.hub.lfs[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        commit = repository.commit(revision, message, files)
        url = f"{self.hub.url}/{repo}/commit/{commit.oid}"
        raise Answer(200, {"commitUrl": url, "commitOid": commit.oid, "success": True})

    # Reading

    @route("GET", f"{API}(/revision/(?P<revision>[^/]+))?")
    def info(self, repo, revision=None):
        commit = self.commit_of(repo, revision or "main")
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        found = self.repository(repo)
        told = {"sha": commit.oid, "private": found.private, "gated": found.accepted is not None and "auto"}
        raise Answer(200, {"id": bare(repo), "modelId": bare(repo), "siblings": siblings} | told)

    @route("GET", f"{API}/tree/(?P<revision>[^/]+)(/(?P<folder>.*))?")
    def tree(self, repo, revision, folder=None):
        files, start = self.commit_of(repo, revision).files, f"{folder}/" if folder else ""
        listed = [file_entry(path, files[path]) for path in sorted(files) if path.startswith(start)]
        inside = sorted(path for path in folders(files) if path.startswith(start))
        listed += [{"type": "directory", "path": path, "size": 0, "oid": git_oid(path.encode())} for path in inside]
        if folder and not listed:
            raise not_found("EntryNotFound")
        if self.query.get("recursive", "false").lower() != "true":
            listed = [told for told in listed if "/" not in told["path"].removeprefix(start)]
        raise Answer(200, listed)

    @route("POST", f"{API}/paths-info/(?P<revision>[^/]+)")
    def paths_info(self, repo, revision):
        files = self.commit_of(repo, revision).files
        asked = parse_qs(self.body.decode()).get("paths", [])
        raise Answer(200, [file_entry(path, files[path]) for path in asked if path in files])

    @route("GET", f"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
    def resolve(self, repo, revision, path):
        commit = self.commit_of(repo, revision)
        self.may_read_files(repo)
        if path not in commit.files:
            raise Answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=commit.oid)
        content = commit.files[path]
        if is_lfs(path):
            # As the Hub: the headers here, the content from a storage that takes no token.
            raise Answer(
                302,
                Location=f"{self.hub.storage}/{digest(content)}",
                ETag=f'"{git_oid(content)}"',
                X_Repo_Commit=commit.oid,
                X_Linked_Etag=f'"{digest(content)}"',
                X_Linked_Size=str(len(content)),
            )
        raise Answer(200, content, ETag=f'"{git_oid(content)}"', X_Repo_Commit=commit.oid)

    @route("GET", "/lfs-storage/(?P<oid>[0-9a-f]+)")
    def lfs_get(self, oid):
        if oid not in self.hub.lfs:
            raise Answer(404, {"error": "no such object"})
        raise Answer(200, self.hub.lfs[oid], ETag=f'"{oid}"')
