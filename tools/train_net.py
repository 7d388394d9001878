#!/usr/bin/env python
"""Train or evaluate a config: see --help."""

from nucdet.commands.train import main

if __name__ == "__main__":
    main()
