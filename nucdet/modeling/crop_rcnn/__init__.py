"""RPN, nucleus filter and crop U-Net: the system of report 000.

The report is Kumar, "Multiloss instance localization & segmentation", 2018. What differs from it is
said in docs/published_systems.md.
"""
