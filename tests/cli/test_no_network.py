"""After set-up nothing needs the network: Vigil starts and works in a network namespace that has loopback only."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import fcntl, json, os, signal, socket, struct, subprocess, sys, urllib.request

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    flags = struct.pack("16sh", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
    fcntl.ioctl(control, 0x8914, flags)  # SIOCSIFFLAGS

try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)  # TEST-NET-1, RFC 5737: no packet leaves this namespace
except OSError:
    pass
else:
    sys.exit("this namespace has a network")

vigil = subprocess.Popen([sys.argv[1], "up"], stdout=subprocess.PIPE, text=True)
for line in vigil.stdout:
    if line.startswith("ready "):
        break
with urllib.request.urlopen(line.split()[1] + "/health/ready") as answer:
    print(json.load(answer)["status"])
vigil.send_signal(signal.SIGINT)
vigil.stdout.read()
sys.exit(vigil.wait())
"""


def test_a_start_needs_no_network(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--net", "true"], check=False, capture_output=True).returncode:
        pytest.skip("network namespaces are not to be had here (needs root on Linux)")
    vigil = Path(sys.executable).parent / "vigil"
    environment = {
        **os.environ,  # noqa: TID251  what the child needs of ours
        "VIGIL_DATA_DIR": str(tmp_path / "data"),
        "VIGIL_HTTP_PORT": "0",
        "VIGIL_INBOX_PORT": "0",
    }
    done = subprocess.run(
        [unshare, "--net", sys.executable, "-c", SCRIPT, str(vigil)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "ready"), done.stderr
