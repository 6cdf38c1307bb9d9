"""Commands as jobs of the workflow."""

import os
import shlex
import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process of its parent's end")
def test_a_job_ends_with_the_shell_that_started_it():
    """Else it would go on where Snakemake has taken it for failed, and write over what a later job made."""
    code = """
import time
from ag3d.core import console
def main():
    print("there", flush=True)
    time.sleep(60)
console.run(main)
"""
    line = shlex.join([sys.executable, "-c", code])
    environment = {**os.environ, "AG3D_ENDS_WITH_SHELL": "1"}
    shell = subprocess.Popen(["bash", "-c", f"{line}; true"], stdout=subprocess.PIPE, env=environment)
    assert shell.stdout.readline() == b"there\n"
    shell.kill()
    shell.communicate(timeout=20)  # the pipe ends with the last of those who hold it
