"""A hub on loopback with three users, and the environment of a process that knows it."""

import os
from contextlib import contextmanager

from support.hub_server import HubServer


SECRET = "hf_SecretOfTheTestsThatMustNotLeak"


@contextmanager
def tiny_hub():
    """A hub on loopback: `ann` writes to `ann` and `org`, `bob` has a token that only reads, `eve` is somebody else."""
    users = {
        SECRET: {"name": "ann", "writes": ["ann", "org"]},
        "hf_reader": {"name": "bob", "writes": ["bob"], "role": "read"},
        "hf_stranger": {"name": "eve", "writes": ["eve"]},
    }
    with HubServer(users) as server:
        yield server


def hub_environment(hub: HubServer, home, **variables) -> dict[str, str]:
    """Of a subprocess that knows this hub alone, has the token and starts with an empty cache."""
    gone = {"HF_HUB_OFFLINE", "HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
    env = {name: value for name, value in os.environ.items() if name.upper() not in gone}
    # Xet is a protocol of its own; without it files go the LFS way.
    env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": SECRET, "HF_HUB_DISABLE_XET": "1"}
    return env | {"NO_PROXY": "127.0.0.1,localhost"} | variables
