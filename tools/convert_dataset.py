#!/usr/bin/env python
"""Convert a data set to COCO JSON: see --help."""

from nucdet.commands.convert import main

if __name__ == "__main__":
    main()
