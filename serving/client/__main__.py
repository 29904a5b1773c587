"""`python -m serving.client`."""

from protos.errors import run_cli
from serving.client.command import main

if __name__ == "__main__":
    run_cli(main)
