"""The napari plug-in: segment, correct by hand, measure, fine-tune, and segment again.

``pip install nucdet[napari]`` installs napari too. The modules ``planes``, ``segmentation``,
``training_folder``, ``finetuning``, ``models`` and ``progress`` neither import napari nor need a
window; ``background``, ``table`` and ``widget`` are the user interface.
"""
