"""From files to model inputs: reading, conversion, catalog, mapper, augmentation."""
