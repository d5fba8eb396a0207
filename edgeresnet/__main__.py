"""``python -m edgeresnet``: the command line."""

from edgeresnet.cli.app import main

main()
