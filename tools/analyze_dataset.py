#!/usr/bin/env python
"""Print and plot what a data set holds: see --help."""

from nucdet.commands.analyze import main

if __name__ == "__main__":
    main()
