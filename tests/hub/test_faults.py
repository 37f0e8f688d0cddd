"""Which errors pass, how they are said, and that nobody waits for ever."""

import socket

import httpx2
from huggingface_hub.errors import HfHubHTTPError
from support.forkserver import forked

from mulki_hf.hub.faults import explain, may_pass


def test_errors_that_the_library_wraps():
    request = httpx2.Request("PUT", "http://127.0.0.1/lfs-storage/1?X-Amz-Signature=signed")
    for status, passes in ((500, True), (403, False)):
        answer = httpx2.Response(status, request=request)
        wrapped = RuntimeError("Error while uploading 'model.safetensors' to the Hub.")
        wrapped.__cause__ = HfHubHTTPError(f"{status} Error for url: {request.url}", response=answer)
        assert may_pass(wrapped) is passes
        assert str(status) in explain(wrapped, "org/mulki") and "signed" not in explain(wrapped, "org/mulki")
    assert may_pass(httpx2.ReadTimeout("")) and not may_pass(ValueError())


def test_a_server_that_stalls_after_it_was_gone(hub_env, tmp_path):
    """The library makes its client anew after a refused connection; the time-out must hold for that one too."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        script = """
import sys
from huggingface_hub.utils import http_backoff
from mulki_hf.hub.outbox import Outbox
Outbox("out", timeout=1)
for url in ("http://127.0.0.1:9", sys.argv[1]):
    try:
        http_backoff("GET", url, max_retries=0)
    except Exception as error:
        print(type(error).__name__)
"""
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        done = forked("-c", script, address, env=hub_env, cwd=tmp_path)
    assert done.stdout.split() == ["ConnectError", "ReadTimeout"]
