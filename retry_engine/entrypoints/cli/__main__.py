"""`python -m retry_engine.entrypoints.cli`: how children are started."""

from retry_engine.entrypoints.cli import main

main()
