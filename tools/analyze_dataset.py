#!/usr/bin/env python
"""Print and plot statistics of a data set: see --help."""

from nucdet.commands.analyze import main

if __name__ == "__main__":
    main()
