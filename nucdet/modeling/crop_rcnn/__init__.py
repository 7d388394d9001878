"""RPN, nucleus filter and crop U-Net: the system of the RPN report, in one package."""
