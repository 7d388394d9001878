#!/usr/bin/env python
"""Draw the images of a data set with their nuclei: see --help."""

from nucdet.commands.visualize_data import main

if __name__ == "__main__":
    main()
