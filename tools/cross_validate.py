#!/usr/bin/env python
"""Train and score a config on every fold: see --help."""

from nucdet.commands.cross_validate import main

if __name__ == "__main__":
    main()
