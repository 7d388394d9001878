#!/usr/bin/env python
"""Draw a data set: see --help."""

from nucdet.commands.visualize_data import main

if __name__ == "__main__":
    main()
