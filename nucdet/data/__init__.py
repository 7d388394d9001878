"""From files to model inputs: reading, conversion, registration, mapping, augmentation."""
