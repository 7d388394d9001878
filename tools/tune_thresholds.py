#!/usr/bin/env python
"""Choose thresholds and overlap rules: see --help."""

from nucdet.commands.tune import main

if __name__ == "__main__":
    main()
