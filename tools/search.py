#!/usr/bin/env python
"""Search config keys by short trainings: see --help."""

from nucdet.commands.search import main

if __name__ == "__main__":
    main()
