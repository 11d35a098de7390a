"""`python -m peftbench`: the same as `peftbench`."""

from peftbench.cli import main

main()
