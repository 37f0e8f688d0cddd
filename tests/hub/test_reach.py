"""Whether the Hub answers, and libraries that are told when it does not."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import datasets
import pytest
from huggingface_hub import constants
from support.hub import connected, hub_environment, tiny_hub

from mulki_hf.hub.reach import caches_alone, out_of_reach


@pytest.fixture
def answers(tmp_path):
    """Asks for a Hub at `url`."""

    def answers(url, **variables):
        with (
            tiny_hub() as hub,
            connected(hub_environment(hub, tmp_path, **variables) | {"HF_ENDPOINT": url or hub.url}),
        ):
            return out_of_reach()

    return answers


def test_one_that_answers(answers):
    assert answers(None) is None


def test_nobody_there(answers):
    assert answers("http://127.0.0.1:9").startswith("can't reach http://127.0.0.1:9: ConnectError")


def test_it_is_not_asked_where_nobody_is_to(answers):
    assert answers("http://127.0.0.1:9", HF_HUB_OFFLINE="1") is None


@pytest.mark.parametrize(("status", "out"), [(503, True), (404, False)])
def test_who_stands_between(answers, status, out):
    class Gateway(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert answers(url) == (f"can't reach {url}: answer 503" if out else None)
        server.shutdown()


def test_libraries_are_told_inside_the_block_alone():
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    with caches_alone():
        assert constants.is_offline_mode() and datasets.config.HF_HUB_OFFLINE
    with caches_alone(False):
        assert before == (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)
    assert before == (constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)
