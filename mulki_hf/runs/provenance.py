"""Where a result comes from: command, commit, hardware, versions."""

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, version

import torch
import yaml
from accelerate import Accelerator
from transformers.utils import is_peft_available

from ..config.paths import paths_in, shareable_settings
from ..hub.shareable import shareable
from ..resources import PACKAGE, __version__


LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "huggingface_hub", "safetensors")


def library_versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that a result depends on; of PEFT where it is installed."""
    versions = {"python": platform.python_version(), "mulki-hf": __version__}
    libraries = (*LIBRARIES, "peft") if is_peft_available() else LIBRARIES
    return versions | {library: version(library) for library in libraries}


def provenance(
    accelerator: Accelerator,
    argv: list[str] | None,
    secrets: Iterable[str | None] = (),
    method: str = "mulki",
    module: str = "mulki_hf.train",
) -> dict[str, str | None]:
    """The command of `module` (None when called from Python), this package's git commit, and the hardware."""
    command = None if argv is None else command_line(argv, accelerator, method, module)
    for secret in filter(None, secrets):
        command = command and command.replace(secret, "...")
    return {"command": command, "git_commit": git_commit(), "hardware": hardware(accelerator)}


def command_line(
    argv: list[str], accelerator: Accelerator, method: str = "mulki", module: str = "mulki_hf.train"
) -> str:
    """The command that was given, for a shell, without token and without this machine's folders.

    Args:
        argv: its options.
        accelerator ([`Accelerator`]): what it computes on.
        method: whose options may be among them.
        module: whose command it is; a word before all options names a model.
    """
    words = ["python"]
    # What `accelerate launch` sets for the processes it starts.
    if "ACCELERATE_MIXED_PRECISION" in os.environ:
        words = ["accelerate", "launch"]
        if accelerator.num_processes > 1:
            words += ["--multi_gpu", "--num_processes", str(accelerator.num_processes)]
    words += ["-m", module]
    option = "model_name_or_path"
    for word in argv:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            option = name[2:].replace("-", "_")
            words.append(f"{name}={_shared(option, value, method)}" if equals else name)
        else:
            words.append(_shared(option, word, method))
    return " ".join(map(_quoted, words))


def _shared(option: str, word: str, method: str) -> str:
    """A word given for an option as it may leave the machine: only what is a path changes."""
    if option == "hub_token":
        return "..."
    if option in ("config", "base"):
        return shareable(word)
    # A task is YAML; what else may be a mapping or a list is recognised by its bracket.
    structured = option == "tasks" or (option in paths_in({"method": method}) and word.lstrip()[:1] in ("{", "["))
    value = yaml.safe_load(word) if structured else word
    shared = shareable_settings({"method": method, option: [value] if option == "tasks" else value})[option]
    shared = shared[0] if option == "tasks" else shared
    if shared == value:
        return word
    if not structured:
        return shared
    return yaml.safe_dump(shared, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()


def _quoted(word: str) -> str:
    """For a shell, on one line."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = json.dumps(word, ensure_ascii=False)[1:-1].replace("'", "\\'")
    return f"$'{escaped}'"


def git_commit() -> str | None:
    """Commit of this package: of the clone it runs from, else the one that pip installed it from."""
    clone = PACKAGE.parent
    if (clone / ".git").exists():
        try:
            git = ["git", "-C", str(clone)]
            commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
            changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True).returncode
        except (OSError, subprocess.CalledProcessError):
            return None
        return commit.strip() + (" with local changes" if changed else "")
    try:
        origin = distribution("mulki-hf").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    return json.loads(origin).get("vcs_info", {}).get("commit_id") if origin else None


def hardware(accelerator: Accelerator) -> str:
    """What the run computes on, in words: `2 processes, each on NVIDIA H100 80GB HBM3`, `1 process on 2 CPU cores`."""
    processes = accelerator.num_processes
    if accelerator.device.type == "cuda":
        name = torch.cuda.get_device_name(accelerator.device)
    else:
        name = f"{os.cpu_count()} CPU cores" if accelerator.device.type == "cpu" else accelerator.device.type
    return f"1 process on {name}" if processes == 1 else f"{processes} processes on {name}"
