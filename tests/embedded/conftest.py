"""The embedded datasets, built once for all tests."""

import socket

import pytest

from mulki_hf.embedded import load_embedded_dataset


class Built(dict):
    """Embedded datasets by name, each built when it is first asked for, with all connections refused."""

    def __init__(self, cache_dir):
        super().__init__()
        self.cache_dir = cache_dir

    def __missing__(self, name):
        def refuse(*args):
            raise AssertionError(f"an embedded dataset asked for the network: {args[1:]}")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "connect", refuse)
            self[name] = load_embedded_dataset(name, cache_dir=str(self.cache_dir))
        return self[name]


@pytest.fixture(scope="session")
def embedded(tmp_path_factory):
    return Built(tmp_path_factory.mktemp("cache"))
