#!/usr/bin/env python
"""Put a trained model into nucdet's model zoo: see --help."""

from nucdet.commands.export_weights import main

if __name__ == "__main__":
    main()
