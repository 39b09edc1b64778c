"""A worker ends with its server, whatever it does at that moment: it must not write to what another takes up."""

import pytest
from fault_server import wait_until, workers_of

from echotrain.clients.client import open_scan
from echotrain.server.folder import find_session
from echotrain.server.running import LINES, read_marks

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.mark.parametrize("how", ["loop", "grip"])
def test_a_worker_that_hangs_ends_with_a_server_that_is_killed(running_server, tmp_path, small_scan, how):
    chain = f'<chain><gadget name="Stumble" how="{how}"/><gadget name="Count"/></chain>'
    scan = small_scan()
    with (
        running_server(tmp_path) as server,
        open_scan(chain, scan.header, server=server.address, timeout=1, reconnect=0) as opened,
    ):
        folder = find_session(server.sessions, opened.session)
        opened.send(scan.batches[0])
        wait_until(lambda: read_marks(folder)[LINES].gadget == 1)
        assert workers_of(folder.path)
        server.process.kill()
        wait_until(lambda: not workers_of(folder.path))
