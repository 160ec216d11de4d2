"""`python -m glassformer.cli`, where the command is not on the path."""

from glassformer.cli import main

main()
