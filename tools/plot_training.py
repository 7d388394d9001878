#!/usr/bin/env python
"""Draw losses and scores of trainings: see --help."""

from nucdet.commands.plot_training import main

if __name__ == "__main__":
    main()
