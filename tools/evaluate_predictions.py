#!/usr/bin/env python
"""Score the predictions of any tool: see --help."""

from nucdet.commands.evaluate import main

if __name__ == "__main__":
    main()
