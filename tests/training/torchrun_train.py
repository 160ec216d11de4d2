"""The command line without the pictures at the end of a training, which take longer than a tiny one."""

from glassformer import launch
from glassformer.cli import main

if __name__ == "__main__":
    launch.draw_report = lambda run: None
    main()
