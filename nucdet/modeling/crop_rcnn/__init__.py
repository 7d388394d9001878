"""RPN, nucleus filter and crop U-Net: the system of report 000.

The report is Kumar, "Multiloss instance localization & segmentation", 2018. See
docs/published_systems.md for the differences.
"""
