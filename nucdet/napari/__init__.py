"""The plug-in for napari: segment, correct by hand, measure, fine-tune, segment again.

``pip install nucdet[napari]`` brings napari. What needs no window stands in modules of its own
(``planes``, ``segmentation``, ``training_folder``, ``finetuning``, ``models``), which work without
it; ``background``, ``table`` and ``widget`` are what the user sees.
"""
